"""The template that makes whole repositories, and rendering a further model from it: one source for both."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path
from typing import Any

import edge_tasks
from edge_tasks.errors import ConfigError

# As `_jinja2_env_vars` in cookiecutter.json has them; `{{ }}` of CI files and `${}` of DVC stay as they are.
JINJA_SETTINGS = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
    "trim_blocks": True,
    "lstrip_blocks": True,
}
_PLACE_OF_NAME = "~<<cookiecutter.model_name>>"


def examples() -> list[str]:
    """Return the names of the examples that a model can start from."""
    return sorted(path.name.removesuffix(_PLACE_OF_NAME) for path in _source().iterdir() if path.is_dir())


def check_example(example: str) -> None:
    """Raise ConfigError unless there is such an example."""
    known = examples()
    if example not in known:
        near = difflib.get_close_matches(example, known, n=1)
        raise ConfigError(
            f"there is no example `{example}`; there are {', '.join(f'`{name}`' for name in known)}",
            f"did you mean `{near[0]}`?" if near else f"--example {known[0]}",
        )


def check_finished(root: Path) -> None:
    """Raise ConfigError when cookiecutter made the repository at `root` but not the template's last step."""
    raw = [path for name in examples() for path in (*root.glob(f"{name}~*"), *root.glob(f"models/{name}~*"))]
    if raw:
        names = ", ".join(f"`{path.relative_to(root).as_posix()}`" for path in raw)
        raise ConfigError(
            f"the template's last step was not run; these folders have no name yet: {names}",
            "remove this repository and make it again with: cookiecutter --accept-hooks yes",
        )


def render_model(example: str, variables: dict[str, str], destination: Path) -> None:
    """Render the example's model folder into the new folder `destination`; `variables` are cookiecutter's answers."""
    environment, answers = _environment(), {"cookiecutter": variables}
    source = _source() / f"{example}{_PLACE_OF_NAME}"
    for path in sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        name = environment.from_string(path.relative_to(source).as_posix()).render(answers)
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(environment.from_string(path.read_text(encoding="utf-8")).render(answers), encoding="utf-8")
        shutil.copymode(path, target)


def ignored_data(example: str, variables: dict[str, str]) -> list[str]:
    """Return the lines of data/.gitignore for what the example's stages write there."""
    path = _source().parent / "data" / f"{example}~.gitignore"
    if not path.is_file():
        return []
    text: str = _environment().from_string(path.read_text(encoding="utf-8")).render({"cookiecutter": variables})
    return text.splitlines()


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined

    # The output is code and YAML, not HTML.
    return Environment(**JINJA_SETTINGS, undefined=StrictUndefined, keep_trailing_newline=True)  # type: ignore[arg-type]  # noqa: S701


def root() -> Path:
    """Return the folder that cookiecutter is pointed at: package data of the wheel, or the checkout itself."""
    package = Path(edge_tasks.__file__).parent
    installed = package / "_template"
    return installed if installed.is_dir() else package.parent


def _source() -> Path:
    return root() / "<<cookiecutter.project_slug>>" / "models"
