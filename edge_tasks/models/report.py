"""The root's dvc.yaml, and the report over all models that its stage writes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.pipeline_plan import REPORT_STAGE
from edge_tasks.domain.yaml_errors import yaml_problem
from edge_tasks.errors import ConfigError
from edge_tasks.repo import layout
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.text_files import read_text
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.repo.trained_model import find_trained_model, last_training

_REPORTED_FILES = ("metrics.json", TRAINED_MODEL_FILE)


class NoReportError(ConfigError):
    """There is no report stage, which somebody may not want."""


def add_model_to_report(root: Path, name: str) -> None:
    """Make the root's report stage depend on the model `name`; comments and order of dvc.yaml stay as they are."""
    wanted = _reported(root, name)

    def add(dependencies: list[Any]) -> None:
        dependencies.extend(path for path in wanted if path not in dependencies)

    _change_dependencies(root, add)


def rename_model_in_report(root: Path, old: str, new: str) -> None:
    """Let the root's report stage depend on the model `new` where it depends on `old`."""
    names = dict(zip(_reported(root, old), _reported(root, new), strict=True))

    def rename(dependencies: list[Any]) -> None:
        for place, path in enumerate(dependencies):
            dependencies[place] = names.get(str(path), path)

    with contextlib.suppress(NoReportError):
        _change_dependencies(root, rename)


def remove_model_from_report(root: Path, name: str) -> None:
    """Let the root's report stage no longer depend on the model `name`."""
    gone = _reported(root, name)

    def remove(dependencies: list[Any]) -> None:
        for path in gone:
            if path in dependencies:
                dependencies.remove(path)

    with contextlib.suppress(NoReportError):
        _change_dependencies(root, remove)


def reported_models(root: Path) -> list[str]:
    """Return the names of the models that the root's report stage depends on; none without such a stage.

    Raises ConfigError when dvc.yaml cannot be read.
    """
    found: list[str] = []

    def look(dependencies: list[Any]) -> None:
        parts = [Path(str(path)).parts for path in dependencies]
        folder = layout.model_folders(root).name
        found.extend(each[1] for each in parts if len(each) == len((folder, "NAME", "FILE")) and each[0] == folder)

    with contextlib.suppress(NoReportError):
        _change_dependencies(root, look)
    return list(dict.fromkeys(found))


def _reported(root: Path, name: str) -> list[str]:
    folder = layout.model_folder(root, name)
    return [(folder / file).relative_to(root).as_posix() for file in _REPORTED_FILES]


def _change_dependencies(root: Path, change: Callable[[list[Any]], None]) -> None:
    """Have `change` change the deps of the root's report stage, and write dvc.yaml if it did."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = root / "dvc.yaml"
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        text = read_text(path, path.name)
    except FileNotFoundError:
        raise NoReportError("there is no `dvc.yaml` at the repository's root", "git checkout dvc.yaml") from None
    try:
        document: Any = yaml.load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        problem = f"`{path.name}` is not valid YAML: {yaml_problem(error, text)}"
        raise ConfigError(problem, f"fix `{path.name}`, or git checkout {path.name}") from None
    try:
        dependencies = document["stages"][REPORT_STAGE]["deps"]
        before = list(dependencies)
    except (KeyError, TypeError):
        raise NoReportError(
            f"`dvc.yaml` has no stage `{REPORT_STAGE}` with `deps`",
            "git checkout dvc.yaml, or add the stage again",
        ) from None
    change(dependencies)
    if dependencies == before:
        return
    stream = io.StringIO()
    yaml.dump(document, stream)
    write_atomically(path, stream.getvalue().encode())


def report(root: Path, config: EdgeConfig) -> str:
    """Return a Markdown report on every trained model: version, commit and metrics."""
    lines = ["# Models", ""]
    for name in config.models:
        trained, problem, _ = last_training(layout.model_folder(root, name), name)
        lines += [f"## {name}", ""]
        if trained is None:
            lines += [f"{problem.problem}." if problem else "Not trained yet.", ""]
            continue
        lines += ["| | |", "|---|---|", f"| run | {trained.run_id} |"]
        if trained.model:
            lines.append(f"| model | {trained.model} |")
        lines += [f"| {metric} | {_shown(value)} |" for metric, value in sorted(trained.metrics.items())]
        lines += [f"| parameter {key} | {value} |" for key, value in sorted(trained.parameters.items())]
        lines.append("")
    return "\n".join(lines)


def document(root: Path, config: EdgeConfig) -> list[dict[str, Any]]:
    """Return the same for programs, with all that is known of each training; null for a model without one."""
    found = {name: find_trained_model(layout.model_folder(root, name), name) for name in config.models}
    return [
        {"model": name, "trained": trained.model_dump(mode="json", by_alias=True) if trained else None}
        for name, trained in found.items()
    ]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
