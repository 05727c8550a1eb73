"""`explain`: what lies behind an error."""

from __future__ import annotations

import re
from typing import Any

from edge_tasks.tasks._task import AS_JSON, task


@task(help={"code": "the code behind an error, such as E101 (default: list all)", **AS_JSON})
def explain(_context: Any, code: str | None = None, json: bool = False) -> None:
    """Explain an error by the code behind it.

    Needs no repository.
    """
    from dataclasses import asdict

    from edge_tasks.console import print_json, print_result, print_table
    from edge_tasks.domain.names import nearest
    from edge_tasks.errors import UsageError
    from edge_tasks.explanations import explanations
    from edge_tasks.tasks._screens import wrapped

    known = {one.code: one for one in explanations()}
    if code is None:
        if json:
            print_json([asdict(one) for one in known.values()])
        else:
            print_table(["code", "error"], [[one.code, one.message] for one in known.values()])
        return
    wanted = f"E{code.strip().strip('[]').upper().removeprefix('E').lstrip('-')}"
    if wanted not in known:
        near = nearest(wanted.replace("O", "0"), known)
        hint = f"did you mean `edge explain {near}`?" if near else "edge explain lists all"
        raise UsageError(f"there is no error with the code `{code}`", hint)
    found = known[wanted]
    if json:
        print_json(asdict(found))
        return
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", found.text)
    print_result("\n".join(wrapped(f"{found.code}: {found.message}\n\n{plain}")))
