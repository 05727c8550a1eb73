"""The root's dvc.yaml, and the report over all models that its stage writes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import ConfigError
from edge_tasks.repo import layout
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.repo.trained_model import find_trained_model

REPORT_STAGE = "report"
_REPORTED_FILES = ("metrics.json", TRAINED_MODEL_FILE)


def add_model_to_report(root: Path, name: str) -> None:
    """Make the root's report stage depend on the model `name`; comments and order of dvc.yaml stay as they are."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = root / "dvc.yaml"
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        document: Any = yaml.load(path.read_text(encoding="utf-8"))
        dependencies = document["stages"][REPORT_STAGE]["deps"]
    except FileNotFoundError:
        raise ConfigError("there is no `dvc.yaml` at the repository's root", "git checkout dvc.yaml") from None
    except (YAMLError, KeyError, TypeError):
        raise ConfigError(
            f"`dvc.yaml` has no stage `{REPORT_STAGE}` with `deps`",
            "git checkout dvc.yaml, or add the stage again",
        ) from None
    for file in _REPORTED_FILES:
        dependency = (layout.model_folder(root, name) / file).relative_to(root).as_posix()
        if dependency not in dependencies:
            dependencies.append(dependency)
    stream = io.StringIO()
    yaml.dump(document, stream)
    write_atomically(path, stream.getvalue().encode())


def report(root: Path, config: EdgeConfig) -> str:
    """Return a Markdown report on every trained model: version, commit and metrics."""
    lines = ["# Models", ""]
    for name in config.models:
        trained = find_trained_model(layout.model_folder(root, name), name)
        lines += [f"## {name}", ""]
        if trained is None:
            lines += ["Not trained yet.", ""]
            continue
        lines += ["| | |", "|---|---|", f"| run | {trained.run_id} |"]
        if trained.model:
            lines.append(f"| model | {trained.model} |")
        lines += [f"| {metric} | {_shown(value)} |" for metric, value in sorted(trained.metrics.items())]
        lines += [f"| parameter {key} | {value} |" for key, value in sorted(trained.parameters.items())]
        lines.append("")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
