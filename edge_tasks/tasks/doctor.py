"""`invoke doctor`."""

from __future__ import annotations

from typing import Any

from edge_tasks.tasks._task import task


@task(help={"json": "print a JSON list instead of a table"})
def doctor(_context: Any, json: bool = False) -> None:
    """Say what is missing or broken, and how to fix it.

    Looks at everything the repository needs and changes nothing; exit status 1 when something is broken.
    """
    from dataclasses import asdict
    from json import dumps

    from edge_tasks.console import print_result, print_table
    from edge_tasks.errors import EdgeError
    from edge_tasks.repo.edge_yaml import find_root
    from edge_tasks.setup import checks
    from edge_tasks.setup import doctor as work

    results = work.examine_repository(find_root())
    if json:
        print_result(dumps([asdict(result) for result in results], indent=2))
    else:
        rows = [[result.check, result.state.value, result.fact, result.fix] for result in results]
        print_table(["check", "state", "found", "fix"], rows)
    broken = [result.check for result in results if result.state is checks.State.BROKEN]
    if broken:
        raise EdgeError(f"broken: {', '.join(broken)}", "the table's last column says how to fix it")
