"""The stages of a DVC repository, as DVC understands them: with its templates, loops and variables resolved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_tasks.domain.pipeline_plan import Stage
from edge_tasks.errors import DataError
from edge_tasks.tools.dvc import repository


def stages(root: Path, files: Sequence[str]) -> list[Stage]:
    """Return the stages in the dvc.yaml `files` (from the root) and all that those depend on, in an order to run them.

    Stages from which nothing of them depends, in other files, are left out. Raises DataError when one depends on what
    is not in the repository.
    """
    import networkx as nx

    with repository(root) as repo:
        graph = repo.index.graph
        wanted = {stage for stage in graph if _file(root, stage) in files}
        wanted |= {other for stage in wanted for other in nx.descendants(graph, stage)}
        ordered = [stage for stage in nx.dfs_postorder_nodes(graph) if stage in wanted]
        return [_stage(root, stage) for stage in ordered if stage.cmd]


def _file(root: Path, stage: Any) -> str:
    return Path(stage.path).relative_to(root).as_posix()


def _stage(root: Path, stage: Any) -> Stage:
    from dvc.dependency import ParamsDependency

    address = f"{_file(root, stage)}:{stage.name}" if getattr(stage, "name", None) else _file(root, stage)
    for item in (*stage.deps, *stage.outs):
        if not item.is_in_repo:
            raise DataError(
                f"the stage `{address}` depends on `{item.def_path}`, which is not in the repository",
                f"import it: dvc import-url {item.def_path}, and depend on the file",
            )

    def paths(items: Any) -> tuple[str, ...]:
        return tuple(Path(item.fs_path).relative_to(root).as_posix() for item in items)

    return Stage(
        address=address,
        folder=Path(stage.wdir).relative_to(root).as_posix(),
        commands=(stage.cmd,) if isinstance(stage.cmd, str) else tuple(stage.cmd),
        deps=paths(dep for dep in stage.deps if not isinstance(dep, ParamsDependency)),
        params=paths(dep for dep in stage.deps if isinstance(dep, ParamsDependency)),
        outs=paths(stage.outs),
        frozen=bool(stage.frozen),
        always_changed=bool(stage.always_changed),
    )
