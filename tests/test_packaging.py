"""What is published: built twice to the same bytes, holding what it should, light without its extra, and at work."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import edge_tasks
from tests import bytecode
from tests.needs import UV
from tests.repositories import ROOT, clean_environment

# The code of the wheel is that of the checkout, byte for byte. What these tests look at is elsewhere: the template,
# and which modules there are, travel with a job, and are imported.
QUICK_TESTS = (
    "tests/test_template.py::test_a_further_model_is_what_cookiecutter_makes",
    "tests/test_template.py::test_the_examples_are_those_that_cookiecutter_offers",
    "tests/test_architecture.py::test_the_table_has_every_part_and_nothing_else",
    "tests/test_architecture.py::test_what_travels_with_a_job_is_what_a_training_imports_there_and_no_more",
    "tests/test_architecture.py::test_listing_the_tasks_loads_nothing_heavy",
    "tests/test_architecture.py::test_a_training_loads_neither_invoke_nor_the_clients_until_it_submits",
)

IN_SDIST = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md", "benchmarks"),
    *(
        "cookiecutter.json",
        "docs",
        "edge_tasks",
        "hooks",
        "mkdocs.yml",
        "pyproject.toml",
        "scripts",
        "template",
        "tests",
    ),
}


def tracked() -> list[str]:
    """What git has of this checkout, and what it would take."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, in which something lies about that must not be published."""
    if not (ROOT / "edge_tasks").is_dir():
        pytest.skip("the package lies elsewhere: these are the tests that run against its wheel")
    copy = tmp_path_factory.mktemp("checkout") / "vertex-edge"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    (copy / "edge_tasks/__pycache__").mkdir()
    (copy / "edge_tasks/__pycache__/state.pyc").write_bytes(b"")
    (copy / ".env").write_text("SECRET=1\n")
    return copy


def build(checkout: Path, output: Path) -> tuple[Path, Path]:
    """Build both distributions, as a release does; return wheel and sdist."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(checkout)],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,), (sdist,) = output.glob("*.whl"), output.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(checkout, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[0]


def test_the_same_bytes_are_built_twice(checkout: Path, built: tuple[Path, Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(checkout, elsewhere, symlinks=True)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    for first, second in zip(built, build(elsewhere, tmp_path / "dist"), strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def test_the_wheel_holds_the_package_and_the_template_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    names = set(content)
    package = {name for name in tracked() if name.startswith("edge_tasks/")}
    template = {
        f"edge_tasks/_template/{name.removeprefix('template/')}": name
        for name in tracked()
        if name.startswith(("template/", "hooks/")) or name == "cookiecutter.json"
    }
    # What IPython runs when a kernel starts goes into its folder of the environment.
    (startup,) = (name for name in names if name.endswith(".data/data/etc/ipython/startup/50-vertex-edge.py"))
    assert names == package | set(template) | {"edge_tasks/_docs/troubleshooting.md", startup}
    for name, source in {**template, **{name: name for name in package}}.items():
        assert content[name] == (ROOT / source).read_bytes(), name
    assert "edge_tasks/_template/<<cookiecutter.project_slug>>/.circleci/config.yml" in names


def test_scripts_of_the_template_may_still_be_run(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        script = next(entry for entry in archive.infolist() if entry.filename.endswith("/test_endpoint.sh"))
    assert (script.external_attr >> 16) & 0o111


def test_the_sdist_holds_what_it_takes_to_build_and_test(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {name.partition("/")[0] for name in names} - {".gitignore"} == IN_SDIST
    assert not [name for name in names if "__pycache__" in name or name.endswith(".env")]
    wanted = [name for name in tracked() if name.startswith(("tests/", "template/", "edge_tasks/"))]
    assert set(wanted) <= set(names)


def test_the_metadata_say_what_the_project_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    assert f"Version: {edge_tasks.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Python: >=3.10\n" in metadata


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == edge_tasks.__version__


# --- `pip install vertex-edge`, alone -----------------------------------------------------------------------------


def closure(requirements: Iterator[str] | list[str], extra: str = "") -> set[str]:
    """The installed distributions that pip would take for `requirements`, found by their metadata."""
    found: set[str] = set()

    def take(text: str, extra: str) -> None:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            return
        name = canonical(requirement.name)
        wanted = [name, *(f"{name}[{each}]" for each in requirement.extras)]
        if all(each in found for each in wanted):
            return
        found.update(wanted)
        for needed in importlib.metadata.requires(name) or []:
            for each in ("", *requirement.extras):
                take(needed, each)

    for text in requirements:
        take(text, extra)
    return {name for name in found if "[" not in name}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def own_requirements() -> list[str]:
    return importlib.metadata.requires("vertex-edge") or []


@dataclass(frozen=True)
class Installation:
    """The built wheel, installed next to just the packages that it needs."""

    packages: Path
    home: Path

    def run(self, *arguments: str, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these packages and no others."""
        environment = clean_environment(self.home) | {"PYTHONPATH": str(self.packages), **changes}
        return subprocess.run(
            # -S keeps the tests' own packages away.
            [sys.executable, "-S", *arguments],
            cwd=cwd or self.home, env=environment, capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    def edge(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        program = "import sys; from edge_tasks.main import program; sys.exit(program.run())"
        return self.run("-c", program, *arguments, cwd=cwd)


def install(wheel: Path, folder: Path, names: set[str]) -> Installation:
    """Install the wheel, and link what the named distributions brought here."""
    packages = folder / "packages"
    (folder / "home").mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", str(packages), str(wheel)], check=True, capture_output=True)
    for name in names - {"vertex-edge"}:
        for file in importlib.metadata.distribution(name).files or []:
            if not file.parts or file.parts[0] in ("..", "__pycache__"):
                continue
            # A package is linked as a whole, with its bytecode; one of several distributions has no __init__.py.
            here = Path(str(file.locate()))
            root = here.parents[len(file.parts) - 1]
            part = file.parts[0] if (root / file.parts[0] / "__init__.py").exists() else file
            source, target = root / part, packages / part
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    bytecode.share(Path(edge_tasks.__file__).parent, packages / "edge_tasks")
    return Installation(packages, folder / "home")


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """What `pip install vertex-edge` gives, and pytest."""
    needed = [text for text in own_requirements() if "extra ==" not in text]
    return install(wheel, tmp_path_factory.mktemp("light"), closure([*needed, "pytest"]))


def test_alone_it_brings_nothing_of_the_emulator_s() -> None:
    alone = closure([text for text in own_requirements() if "extra ==" not in text])
    emulator = {
        canonical(Requirement(text).name) for text in own_requirements() if 'extra == "local"' in text.replace("'", '"')
    }
    assert "uvicorn" in emulator
    # DVC needs three of them itself, google-cloud-storage one.
    assert alone & emulator <= {"google-crc32c", "orjson", "psutil", "tzdata"}
    assert not alone & {"pandas", "scikit-learn", "pytest", "mypy", "ruff"}


def test_alone_it_lists_its_tasks_and_reads_a_repository(light: Installation, baked: dict[str, Path]) -> None:
    assert light.edge("--version").stdout == f"edge {edge_tasks.__version__}\n"
    assert "Usage: edge" in light.edge("--help").stdout
    assert "model.deploy" in light.edge("--list").stdout
    assert light.edge("explain", "E101").stdout.startswith("E101: no `edge.yaml` in")
    shown = light.edge("config.get", "target", cwd=baked["digits"])
    assert shown.stdout == "local\n", shown.stderr


def test_alone_it_names_the_extra_that_target_local_needs(
    light: Installation, baked: dict[str, Path], tmp_path: Path
) -> None:
    repository = shutil.copytree(baked["hello-world"], tmp_path / "repository", symlinks=True)
    done = light.edge("local.start", cwd=repository)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hint: pip install -r requirements.txt" in done.stderr
    done = light.run("-m", "edge_tasks.emulator", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'vertex-edge[local]'" in done.stderr


def test_alone_it_does_not_disturb_pytest(light: Installation, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n")
    done = light.run("-m", "pytest", "-q", str(tmp_path), cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_installed_wheel_renders_the_whole_template(light: Installation, tmp_path: Path) -> None:
    where = light.run("-c", "from edge_tasks.setup.template import root; print(root())").stdout.strip()
    assert where == str(light.packages / "edge_tasks" / "_template")
    done = light.run("-m", "cookiecutter", "--no-input", "--output-dir", str(tmp_path), where, "example=digits")
    assert done.returncode == 0, done.stderr
    made = tmp_path / "my-ml-project"
    assert (made / "models/digits/train.py").is_file()
    assert os.access(made / "test_endpoint.sh", os.X_OK)
    done = light.edge("template.update", cwd=made)
    assert "has all of the template's version" in done.stderr, done.stderr


def test_the_quick_tests_pass_against_the_installed_wheel(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    """`make test-wheel` does it with all tests."""
    outside = tmp_path / "outside"
    shutil.copytree(checkout, outside, symlinks=True)
    shutil.rmtree(outside / "edge_tasks")
    (tmp_path / "home").mkdir()
    packages = tmp_path / "packages"
    command = [*UV, "pip", "install", "--quiet", "--no-deps", "--no-index", "--python", sys.executable]
    subprocess.run([*command, "--target", str(packages), str(wheel)], check=True, capture_output=True)
    bytecode.share(Path(edge_tasks.__file__).parent, packages / "edge_tasks")
    # Nothing can be forked that finds other packages.
    changes = {"PYTHONPATH": str(packages), "EDGE_TESTS_FORK": "no"}
    environment = clean_environment(tmp_path / "home") | changes

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=outside, env=environment, capture_output=True, text=True, timeout=280)

    where = python("-c", "import edge_tasks; print(edge_tasks.__file__)").stdout
    assert where.startswith(str(packages))
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


# --- the shell ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(shell: str, tmp_path: Path) -> None:
    edge = str(Path(sys.executable).parent / "edge")
    script = subprocess.run(
        [edge, "--print-completion-script", shell], capture_output=True, text=True, check=True
    ).stdout
    assert "edge" in script
    if shell == "bash":
        (tmp_path / "completion").write_text(script)
        subprocess.run(["bash", "-n", str(tmp_path / "completion")], check=True)
    completed = subprocess.run([edge, "--complete", "--", "edge", "model."], capture_output=True, text=True, check=True)
    assert "model.deploy" in completed.stdout.split()
