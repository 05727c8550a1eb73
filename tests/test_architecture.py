"""Imports go one way, and what is dear to import is not imported until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_tasks

PACKAGE = Path(edge_tasks.__file__).parent

# Lowest first. What is in a layer may import what is in it and in those below, never in those above.
LAYERS = {
    "ground": {"errors", "redaction", "__init__"},
    "domain": {"domain"},
    "repo": {"repo"},
    "tools": {"tools"},
    "cloud": {"cloud"},
    "console": {"console"},
    "work": {"tracking", "releases", "models", "setup", "experiments", "jobs", "training"},
    "tasks": {"tasks", "main"},
}
ALONE = "emulator"


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module's top part below edge_tasks (a package counts as one), and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] != "_template":
            yield relative.parts[0].removesuffix(".py"), path


def imported(path: Path) -> set[str]:
    """Return the top parts below edge_tasks that a file imports, also inside functions, and foreign packages."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    tops = {name.split(".")[1] if "." in name else "__init__" for name in names if name.split(".")[0] == "edge_tasks"}
    return {top if (PACKAGE / f"{top}.py").exists() or (PACKAGE / top).is_dir() else "__init__" for top in tops}


def test_every_module_belongs_to_a_layer() -> None:
    known = {ALONE}.union(*LAYERS.values())
    assert {top for top, _ in modules()} <= known


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_never_go_upwards(layer: str) -> None:
    order = list(LAYERS)
    allowed = set().union(*(LAYERS[name] for name in order[: order.index(layer) + 1]))
    for top, path in modules():
        if top in LAYERS[layer]:
            assert own(imported(path)) <= allowed, path


def test_the_emulator_imports_nothing_of_the_rest() -> None:
    for top, path in modules():
        if top == ALONE:
            assert own(imported(path)) <= {ALONE}, path


def test_nothing_imports_the_emulator() -> None:
    for top, path in modules():
        if top != ALONE:
            assert ALONE not in own(imported(path)), path


def test_only_tasks_know_invoke() -> None:
    for top, path in modules():
        if top not in LAYERS["tasks"]:
            assert not any(name.split(".")[0] == "invoke" for name in imported(path)), path


def test_only_cloud_tells_one_target_from_another() -> None:
    """`cloud/client.py` makes the clients; elsewhere nobody compares the target with a name."""
    for top, path in modules():
        if top == ALONE or path == PACKAGE / "cloud" / "client.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [item.value for item in [node.left, *node.comparators] if isinstance(item, ast.Constant)]
                assert not {"local", "gcp"} & {str(value) for value in constants}, f"{path}:{node.lineno}"


def test_only_console_prints() -> None:
    for top, path in modules():
        if top in ("console", ALONE):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"), (
                path
            )


def test_no_program_is_started_through_a_shell() -> None:
    """So no name out of edge.yaml can become a command."""
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("os.system", "os.popen", "subprocess.getoutput"), path
                assert not any(keyword.arg == "shell" for keyword in node.keywords), f"{path}:{node.lineno}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {path.stem for _, path in modules()} & {"utils", "util", "common", "helpers", "misc"}


def loaded_after(statement: str) -> set[str]:
    """Return the top-level names that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_listing_the_tasks_loads_nothing_heavy() -> None:
    heavy = {
        "google.auth",
        "google.api_core",
        "dvc",
        "sacred",
        "pydantic",
        "rich",
        "ruamel.yaml",
        "requests",
        "jinja2",
        "numpy",
    }
    assert not heavy & loaded_after("import edge_tasks.main")


def test_a_training_loads_neither_invoke_nor_the_clients_until_it_submits() -> None:
    loaded = loaded_after("import edge_tasks.training, edge_tasks.training.sklearn")
    assert not {"invoke", "google.cloud.aiplatform_v1", "google.cloud.storage", "dvc.repo", "edge_tasks.tasks"} & loaded
