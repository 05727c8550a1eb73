"""What a change does to metrics and parameters, against another branch, as Markdown: what a pull request shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_tasks.tools import dvc, git


def compare(root: Path, base: str) -> str:
    """Return the metrics and parameters of the working tree next to those of the branch or commit `base`.

    A clone that does not have the branch fetches its last commit. Where there is no such branch at all, as in the
    first pipeline of a repository, the metrics stand alone. What `base` has got since HEAD left it is told first.
    Raises DataError when a file is broken, of which DVC would say that it is gone.
    """
    dvc.check_files(root)
    revision = _revision(root, base)
    if revision is None:
        metrics = dvc.run(root, "metrics", "show", "--md", doing="show the metrics")
        return _section("Metrics", f"There is no branch or commit `{base}` to compare with.\n\n{metrics}")
    metrics = dvc.run(root, "metrics", "diff", "--all", "--md", revision, doing="compare the metrics")
    parameters = dvc.run(root, "params", "diff", "--md", revision, doing="compare the parameters")
    # DVC names a column by the reference that it was given.
    name = base.ljust(len(revision))
    metrics, parameters = (_rows(text.replace(revision, name)) for text in (metrics, parameters))
    return (
        _section(f"Metrics, against {base}", _moved_on(root, base, revision) + (metrics or "There are none."))
        + "\n"
        + _section(f"Parameters, against {base}", parameters or "None changed.")
    )


def compared(root: Path, base: str) -> dict[str, Any]:
    """Return the same for programs: by file and name the `old` value, the `new` one and the `diff`, as DVC has them.

    `base` is null, and what there is stands alone as `new`, where there is no such branch.
    """
    dvc.check_files(root)
    revision = _revision(root, base)
    if revision is None:
        shown = json.loads(dvc.run(root, "metrics", "show", "--json", doing="show the metrics"))
        files = {path: found["data"] for path, found in shown.get("", {}).get("data", {}).items() if "data" in found}
        metrics = {path: {name: {"new": value} for name, value in found.items()} for path, found in files.items()}
        return {"base": None, "metrics": metrics, "parameters": {}}
    metrics, parameters = (
        json.loads(dvc.run(root, what, "diff", *more, "--json", revision, doing=f"compare the {name}") or "{}")
        for what, name, more in (("metrics", "metrics", ("--all",)), ("params", "parameters", ()))
    )
    return {"base": base, "metrics": metrics, "parameters": parameters}


def _revision(root: Path, base: str) -> str | None:
    """Return a name by which git knows the branch `base`, the remote's first, or another revision; None without."""
    remote = f"refs/remotes/origin/{base}"
    for revision in (remote, f"refs/heads/{base}", base):
        if git.resolve(root, revision):
            return revision
    git.fetch_tip(root, base, remote)
    return remote if git.resolve(root, remote) else None


def _moved_on(root: Path, base: str, revision: str) -> str:
    """Return a line about commits of `base` that HEAD has not: CircleCI, other than GitHub, does not merge them in."""
    ahead = git.commits_ahead(root, revision)
    if not ahead:
        return ""
    commits = "1 commit that is" if ahead == 1 else f"{ahead} commits that are"
    name = f"origin/{base}" if revision.startswith("refs/remotes/") else base
    return f"`{base}` has {commits} not here, so what changed there looks undone: `git merge {name}`\n\n"


def _rows(table: str) -> str:
    """Return a table, or nothing for one that has a head only."""
    return table.strip() if len(table.strip().splitlines()) > 2 else ""


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip()}\n"
