"""Imports go one way, and what is dear to import is not imported until it is needed."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_tasks
from edge_tasks.jobs.package import travelling_modules

PACKAGE = Path(edge_tasks.__file__).parent

ALONE = "emulator"
# Those that every part may import.
GROUND = {"errors", "redaction", "__init__"}


def table() -> dict[str, set[str]]:
    """Return the table of docs/architecture.md: each part, highest first, and the parts that it may import."""
    text = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|[^|]*\|$", text, flags=re.MULTILINE)
    return {part: set(re.findall(r"`([\w.]+)`", imports)) for part, imports in rows}


TABLE = table()


@functools.cache
def tree(path: Path) -> ast.Module:
    """What a module's source says, read once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module's top part below edge_tasks (a package counts as one), and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] != "_template":
            yield relative.parts[0].removesuffix(".py"), path


def imported(path: Path) -> set[str]:
    """Return the top parts below edge_tasks that a file imports, also inside functions, and foreign packages."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def name(path: Path) -> str:
    """Return a module's dotted name below edge_tasks; a package has that of its folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def owned(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, below edge_tasks; of a package, what of it is imported."""
    found = set()
    for dotted in imported(path):
        parts = dotted.split(".")
        if dotted in ("edge_tasks", "edge_tasks.__version__"):
            found.add("__init__")
        for end in range(len(parts), 1, -1):
            place = PACKAGE.joinpath(*parts[1:end])
            if parts[0] == "edge_tasks" and (place.with_suffix(".py").exists() or (place / "__init__.py").exists()):
                found.add(".".join(parts[1:end]))
                break
    return found - {name(path)}


def own(names: set[str]) -> set[str]:
    tops = {name.split(".")[1] if "." in name else "__init__" for name in names if name.split(".")[0] == "edge_tasks"}
    return {top if (PACKAGE / f"{top}.py").exists() or (PACKAGE / top).is_dir() else "__init__" for top in tops}


def test_the_table_has_every_part_and_nothing_else() -> None:
    assert {top for top, _ in modules()} == {*TABLE, ALONE, "__init__"}


def test_the_table_lets_imports_go_downwards_only() -> None:
    parts = list(TABLE)
    for number, part in enumerate(parts):
        assert {entry.partition(".")[0] for entry in TABLE[part]} <= set(parts[number + 1 :]), part


@pytest.mark.parametrize("part", TABLE)
def test_a_part_imports_what_the_table_says_and_all_of_it(part: str) -> None:
    used: set[str] = set()
    for top, path in modules():
        if top == part:
            found = {module if module in TABLE[part] else module.partition(".")[0] for module in owned(path)}
            assert found - GROUND - {part} <= TABLE[part], path
            used |= found
    assert used - GROUND - {part} == TABLE[part] - GROUND


def test_the_map_names_modules_that_are_there() -> None:
    text = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {(part, module) for part, module in re.findall(r"`(\w+)\.(\w+)[\w.]*`", text) if part in TABLE}
    assert named
    for part, module in named:
        place = PACKAGE / part / module
        assert place.with_suffix(".py").exists() or place.is_dir(), f"{part}.{module}"


def test_what_is_changed_is_where_the_docs_say() -> None:
    root = Path(__file__).parent.parent
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Where do I change ...\n")[2].partition("\n## ")[0]
    rows = [line.rpartition(" | ")[2] for line in section.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == 15
    for row in rows:
        found = re.search(r"`([\w./]+)`", row)
        assert found is not None, row
        path = found[1].replace("GROUP", "model").replace("NOUN", "models")
        assert ((PACKAGE.parent if path.startswith("edge_tasks/") else root) / path).exists(), row


def test_errors_import_nothing_of_ours_but_redaction() -> None:
    assert own(imported(PACKAGE / "redaction.py")) == set()
    assert own(imported(PACKAGE / "errors.py")) == {"redaction"}


def test_the_domain_is_pure() -> None:
    """It opens no file, starts no program, and reads no environment variable."""
    outside = {"os", "io", "pathlib", "shutil", "socket", "subprocess", "tempfile", "threading", "requests"}
    for top, path in modules():
        if top == "domain":
            assert not {dotted.partition(".")[0] for dotted in imported(path)} & outside, path
            for node in ast.walk(tree(path)):
                assert not (isinstance(node, ast.Name) and node.id == "open"), path


def test_no_module_imports_itself_through_others() -> None:
    graph = {name(path): owned(path) for _, path in modules()}
    open_: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in open_, " -> ".join([*open_[open_.index(module) :], module])
        if module in done:
            return
        open_.append(module)
        for other in graph.get(module, ()):
            visit(other)
        done.add(open_.pop())

    for module in graph:
        visit(module)


def test_the_emulator_imports_nothing_of_the_rest_but_the_server_of_its_models() -> None:
    for top, path in modules():
        if top == ALONE:
            # The data folder's card names the release.
            more = {"serving/prebuilt.py": "serving", "serving/loan.py": "serving", "data_folder.py": "__init__"}
            allowed = {ALONE, more.get(path.relative_to(PACKAGE / ALONE).as_posix(), ALONE)}
            assert own(imported(path)) <= allowed, path


def test_nothing_imports_the_emulator() -> None:
    for top, path in modules():
        if top != ALONE:
            assert ALONE not in own(imported(path)), path


def test_only_tasks_know_invoke() -> None:
    for top, path in modules():
        if top not in ("tasks", "main"):
            assert not any(name.split(".")[0] == "invoke" for name in imported(path)), path


def test_only_cloud_tells_one_target_from_another() -> None:
    """`cloud/client.py` makes the clients; elsewhere nobody compares the target with a name."""
    for top, path in modules():
        if top == ALONE or path == PACKAGE / "cloud" / "client.py":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Compare):
                constants = [item.value for item in [node.left, *node.comparators] if isinstance(item, ast.Constant)]
                assert not {"local", "gcp"} & {str(value) for value in constants}, f"{path}:{node.lineno}"


def test_only_console_prints() -> None:
    for top, path in modules():
        if top in ("console", ALONE):
            continue
        for node in ast.walk(tree(path)):
            assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"), (
                path
            )


def spelled(path: Path) -> Iterator[tuple[int, str]]:
    """Yield texts that are not documentation, and attributes, with their lines: what names a place or a label."""
    whole = tree(path)
    alone = {id(node.value) for node in ast.walk(whole) if isinstance(node, ast.Expr)}
    for node in ast.walk(whole):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr


def test_only_layout_spells_folders_objects_and_labels() -> None:
    names = re.compile(
        r"edge-(model|run|bucket|commit|dirty|data|parameters|fingerprint|tuning|batch)|\.edge|\.edge_state.*"
        r"|vertex_jobs_directory|dvc_store_directory|.*/(claims|packages|batch|upload)/?"
    )
    for top, path in modules():
        if top == ALONE or path == PACKAGE / "repo" / "layout.py":
            continue
        for line, text in spelled(path):
            assert not names.fullmatch(text), f"{path}:{line}: {text}"
        for node in ast.walk(tree(path)):
            # The template's own checkout is not a repository of its users.
            if isinstance(node, ast.BinOp) and path.name != "template.py":
                assert not (isinstance(node.right, ast.Constant) and node.right.value in ("models", "services")), path


def test_only_the_bucket_calls_google_for_objects() -> None:
    """So each of these calls has the limits that `Cloud` gives the bucket."""
    calls = {"blob", "get_blob", "list_blobs", "upload_from_string", "upload_from_filename", "download_as_bytes"}
    for top, path in modules():
        if top != ALONE and path != PACKAGE / "cloud" / "bucket.py":
            for node in ast.walk(tree(path)):
                assert not (isinstance(node, ast.Attribute) and node.attr in calls), f"{path}:{node.lineno}"


@pytest.mark.slow
def test_no_program_is_started_through_a_shell() -> None:
    """So no name out of edge.yaml can become a command."""
    for _, path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("os.system", "os.popen", "subprocess.getoutput"), path
                assert not any(keyword.arg == "shell" for keyword in node.keywords), f"{path}:{node.lineno}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {path.stem for _, path in modules()} & {"utils", "util", "common", "helpers", "misc"}


def test_what_travels_with_a_job_is_what_a_training_imports_there_and_no_more() -> None:
    """Two processes run there. What they import on a laptop only, inside functions, leads out by these modules.

    A model's modules may import its predictor there.
    """
    on_a_laptop_only = {"console", "tools.dvc", "tools.emulator_process"}
    reached: set[str] = set()
    todo = {
        "training",
        "training.job",
        "training.pipeline_task",
        "training.sklearn",
        "tracking.uploader_process",
        "serving",
    }
    while todo:
        module = todo.pop()
        reached.add(module)
        path = PACKAGE.joinpath(*module.split("."))
        found = owned(path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py")
        todo |= {one for one in found if not one.startswith("jobs.")} - on_a_laptop_only - reached
    travel = {name(PACKAGE / file) for file in travelling_modules() if not file.endswith("__init__.py")}
    assert travel == {module for module in reached if not PACKAGE.joinpath(*module.split(".")).is_dir()}


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


@pytest.mark.slow
@pytest.mark.parametrize("module", ["jobs.reproduce", "jobs.tuning", "jobs.training", "training", "training.job"])
def test_what_sacred_imports_warns_nobody(module: str) -> None:
    command = [sys.executable, "-c", f"import edge_tasks.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pkg_resources" not in done.stderr
