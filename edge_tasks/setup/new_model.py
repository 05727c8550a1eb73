"""Adding a model to a repository: its folder from the template, edge.yaml, and the root's dvc.yaml."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from edge_tasks.domain.config import EdgeConfig, ModelConfig, check_model_name, default_serving_image
from edge_tasks.errors import ConfigError
from edge_tasks.models.report import add_model_to_report
from edge_tasks.repo.edge_yaml import add_model
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.layout import model_folder
from edge_tasks.repo.model_folders import check_named
from edge_tasks.setup import code_link, template

# Those of a model that edge.yaml shows from the start; the others have defaults that suit most.
_WRITTEN_SETTINGS = {
    "endpoint_name",
    "training_container_image_uri",
    "serving_container_image_uri",
    "training_machine_type",
    "serving_machine_type",
    "min_replica_count",
    "max_replica_count",
}


def init_model(root: Path, config: EdgeConfig, name: str, example: str) -> Path:
    """Add the model `name` to the repository: its folder from the template, edge.yaml, and the root's dvc.yaml.

    Everything is checked first; when a step fails all the same, what the steps before it made is taken back.
    """
    check_model_name(name)
    template.check_example(example)
    folder = model_folder(root, name)
    check_named(root, config, name)
    if name in config.models or folder.exists():
        raise ConfigError(f"there is a model `{name}` already", "choose another name, or remove that one first")
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
        rendered = Path(temporary) / name
        variables = {"model_name": name, "project_slug": root.name}
        template.render_model(example, variables, rendered)
        edge_yaml = (root / "edge.yaml").read_bytes()
        rendered.rename(folder)
        try:
            add_model(root, name, _settings(config, name))
            add_model_to_report(root, name)
            code_link.make(root)
            _ignore(root / "data" / ".gitignore", template.ignored_data(example, variables))
        except BaseException:
            shutil.rmtree(folder)
            (root / "edge.yaml").write_bytes(edge_yaml)
            raise
    return folder


def _ignore(file: Path, lines: list[str]) -> None:
    """Have git leave alone what the stages write. DVC does that, too, but takes it back when a later stage fails."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if missing := [line for line in lines if line not in before.splitlines()]:
        file.parent.mkdir(exist_ok=True)
        ended = before if before.endswith("\n") or not before else f"{before}\n"
        write_atomically(file, "".join([ended, *(f"{line}\n" for line in missing)]).encode())


def _settings(config: EdgeConfig, name: str) -> dict[str, Any]:
    settings = ModelConfig(
        endpoint_name=f"{name}-endpoint",
        serving_container_image_uri=default_serving_image(config.google_cloud_project.region),
    )
    return settings.model_dump(include=_WRITTEN_SETTINGS)
