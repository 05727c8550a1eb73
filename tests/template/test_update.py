"""`invoke template.update`: a newer template's changes and the user's own are both kept, or the user is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.forking.commands import forked
from tests.repositories import BIN

pytestmark = pytest.mark.slow

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

RELEASES = Path(__file__).parent / "releases"
PROJECT = "<<cookiecutter.project_slug>>"
ADA = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "a@b"))}


@dataclass(frozen=True)
class Generated:
    """A generated repository, and what its user does in it."""

    root: Path
    run: Run

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments, cwd=self.root, env=ADA).stdout

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file and commit that."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        self.git("commit", "--quiet", "--all", "--message", f"Change {name}")

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def update(self, *arguments: str) -> tuple[int, str]:
        """Run the task; return its exit status and what it said."""
        command, environment = forked(
            BIN / "invoke", "template.update", *arguments, environment={**os.environ, "COLUMNS": "400"}
        )
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=120
        )
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done.returncode, done.stderr

    @property
    def branch(self) -> str:
        return self.git("branch", "--show-current").strip()


@pytest.fixture(scope="module")
def fresh(bake_into: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    answers = {"project_name": "👩\u200d🔬 Lab", "project_slug": "lab", "example": "digits", "ci": "github"}
    return bake_into(tmp_path_factory.mktemp("fresh"), **answers)


@pytest.fixture
def generated(fresh: Path, run: Run, tmp_path: Path) -> Generated:
    return Generated(shutil.copytree(fresh, tmp_path / "out" / "lab", symlinks=True), run)


@dataclass(frozen=True)
class Template:
    """A template to change."""

    root: Path

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / "template" / PROJECT / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def add(self, name: str, text: str) -> None:
        (self.root / "template" / PROJECT / name).write_text(text, encoding="utf-8")

    def set_version(self, version: str) -> None:
        questions = json.loads((self.root / "cookiecutter.json").read_text())
        questions["_template_version"] = version
        (self.root / "cookiecutter.json").write_text(json.dumps(questions))

    def ask(self, question: str, default: str) -> None:
        questions = json.loads((self.root / "cookiecutter.json").read_text())
        questions[question] = default
        (self.root / "cookiecutter.json").write_text(json.dumps(questions))


@pytest.fixture
def newer(repository: Path, tmp_path: Path) -> Template:
    """A copy of this project's template that calls itself 0.9.0."""
    copy = tmp_path / "newer"
    copy.mkdir()
    shutil.copy2(repository / "cookiecutter.json", copy)
    for name in ("hooks", "template"):
        shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / PROJECT).symlink_to(Path("template", PROJECT))
    template = Template(copy)
    template.set_version("0.9.0")
    return template


def test_a_fresh_repository_has_all_of_the_template_already(generated: Generated) -> None:
    status, said = generated.update()
    assert status == 0
    assert "has all of the template's version" in said
    assert generated.branch == "main"


def test_the_answers_are_recorded_for_every_question(generated: Generated, repository: Path) -> None:
    questions = json.loads((repository / "cookiecutter.json").read_text())
    recorded = json.loads(generated.read(".edge-template.json"))
    assert list(recorded["answers"]) == [question for question in questions if not question.startswith("_")]
    assert recorded["template_version"] == questions["_template_version"]
    assert recorded["answers"]["project_name"] == "👩\u200d🔬 Lab"


def test_changes_of_the_user_and_of_the_template_meet_on_a_branch(generated: Generated, newer: Template) -> None:
    generated.edit("edge.yaml", "training_machine_type: n1-standard-4", "training_machine_type: n1-highmem-8")
    (generated.root / "notes.md").write_text("mine\n")
    generated.git("add", "--all")
    generated.git("commit", "--quiet", "--message", "Take notes")
    newer.edit("edge.yaml", "target: local\n", "target: local  # or gcp\n")
    newer.edit(".gitignore", ".DS_Store\n", ".DS_Store\nThumbs.db\n")
    newer.add("CODEOWNERS", "* @<<cookiecutter.project_slug>>\n")
    (newer.root / "template" / PROJECT / ".dvcignore").unlink()
    newer.ask("new_question", "default")

    status, said = generated.update("--to", str(newer.root))
    assert status == 0, said
    assert "merged the template's version 0.9.0 (it was 0.1.0) on `edge-template-0.9.0`" in said
    assert generated.branch == "edge-template-0.9.0"
    edge_yaml = generated.read("edge.yaml")
    assert "n1-highmem-8" in edge_yaml
    assert "# or gcp" in edge_yaml
    assert "Thumbs.db" in generated.read(".gitignore")
    assert generated.read("CODEOWNERS") == "* @lab\n"
    assert generated.read("notes.md") == "mine\n"
    assert not (generated.root / ".dvcignore").exists()
    assert json.loads(generated.read(".edge-template.json"))["template_version"] == "0.9.0"
    assert "vertex-edge[local]==0.9.0" in generated.read("requirements.txt")
    assert generated.git("status", "--porcelain") == ""
    # main is as it was until the user merges.
    assert "CODEOWNERS" not in generated.git("ls-tree", "--name-only", "main")


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["right", "goes back"])
def test_the_next_update_starts_from_the_last_one(
    generated: Generated, newer: Template, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    if clock == "goes back":
        monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
    newer.edit(".gitignore", ".DS_Store\n", ".DS_Store\nThumbs.db\n")
    status, said = generated.update("--to", str(newer.root))
    assert status == 0, said
    generated.git("switch", "--quiet", "main")
    generated.git("merge", "--quiet", "edge-template-0.9.0")
    generated.edit(".gitignore", "Thumbs.db\n", "")  # the user does not want it
    newer.set_version("0.10.0")
    newer.add("NEWS.md", "News\n")
    status, said = generated.update("--to", str(newer.root))
    assert status == 0, said
    assert "0.10.0 (it was 0.9.0)" in said
    assert "Thumbs.db" not in generated.read(".gitignore")
    assert generated.read("NEWS.md") == "News\n"


def test_lines_that_both_changed_are_marked_and_nothing_is_lost(generated: Generated, newer: Template) -> None:
    generated.edit("edge.yaml", "serving_machine_type: n1-standard-2", "serving_machine_type: n1-highcpu-4")
    newer.edit("edge.yaml", "serving_machine_type: n1-standard-2", "serving_machine_type: e2-standard-2")
    newer.add("NEWS.md", "News\n")
    status, said = generated.update("--to", str(newer.root))
    assert status == 1
    assert "both you and the template changed the same lines: `edge.yaml`" in said
    text = generated.read("edge.yaml")
    assert "<<<<<<<" in text
    assert "n1-highcpu-4" in text
    assert "e2-standard-2" in text
    assert generated.read("NEWS.md") == "News\n"
    # As the hint says: back, and all is as before.
    generated.git("merge", "--abort")
    generated.git("switch", "--quiet", "-")
    assert generated.branch == "main"
    assert "n1-highcpu-4" in generated.read("edge.yaml")
    status, said = generated.update("--to", str(newer.root))
    assert "there is a branch `edge-template-0.9.0` already" in said


def test_changes_that_are_not_committed_are_not_touched(generated: Generated, newer: Template) -> None:
    (generated.root / "README.md").write_text("mine\n")
    status, said = generated.update("--to", str(newer.root))
    assert status == 1
    assert "there are changes that are not committed" in said
    assert generated.read("README.md") == "mine\n"
    assert generated.branch == "main"


def test_an_untracked_file_in_the_way_stops_the_update_and_stays(generated: Generated, newer: Template) -> None:
    newer.add("NEWS.md", "News\n")
    (generated.root / "NEWS.md").write_text("mine\n")
    status, said = generated.update("--to", str(newer.root))
    assert status == 1
    assert "git cannot merge" in said
    assert generated.read("NEWS.md") == "mine\n"
    assert generated.branch == "main"
    assert "edge-template" not in generated.git("branch", "--list")


@pytest.mark.slow
def test_a_squashed_history_needs_the_older_template_and_takes_it(
    generated: Generated, newer: Template, repository: Path
) -> None:
    generated.edit("edge.yaml", "n1-standard-4", "n1-highmem-8")
    message = generated.git("log", "-1", "--format=%B", "main~1")
    squashed = generated.git("commit-tree", "main^{tree}", "-m", message).strip()
    generated.git("reset", "--quiet", "--hard", squashed)
    # The words of the first commit are there, but not its tree: the installed package, of the same version, helps.
    newer.edit("edge.yaml", "target: local\n", "target: local  # or gcp\n")
    status, said = generated.update("--to", str(newer.root))
    assert status == 0, said
    assert "rendered the template's version 0.1.0 again" in said
    assert "n1-highmem-8" in generated.read("edge.yaml")
    assert "# or gcp" in generated.read("edge.yaml")

    generated.git("switch", "--quiet", "main")
    generated.git("branch", "-D", "edge-template-0.9.0")
    generated.edit(".edge-template.json", '"template_version": "0.1.0"', '"template_version": "0.0.7"')
    status, said = generated.update("--to", str(newer.root))
    assert status == 1
    assert "history does not hold what version 0.0.7 of the template gave" in said
    assert "invoke template.update --base 0.0.7" in said
    # The user's edit of the record is in conflict; the rest is merged.
    status, said = generated.update("--to", str(newer.root), "--base", str(repository))
    assert "changed the same lines: `.edge-template.json`" in said
    assert "# or gcp" in generated.read("edge.yaml"), said


@pytest.fixture
def wheel(newer: Template, tmp_path: Path) -> Path:
    """A wheel of version 0.9.0, with nothing but the template, in its own folder."""
    newer.edit("test_endpoint.sh", "# Usage:", "# How to use it:")
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / "vertex_edge-0.9.0-py3-none-any.whl"
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: vertex-edge\nVersion: 0.9.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for folder in ("hooks", "template"):
            for path in (newer.root / folder).rglob("*"):
                name = path.relative_to(newer.root).as_posix().removeprefix("template/")
                if path.is_file():
                    archive.write(path, f"edge_tasks/_template/{name}")
        archive.write(newer.root / "cookiecutter.json", "edge_tasks/_template/cookiecutter.json")
        for name, text in metadata.items():
            archive.writestr(f"vertex_edge-0.9.0.dist-info/{name}", text)
    return wheel


def test_a_wheel_is_as_good_as_a_checkout(generated: Generated, wheel: Path) -> None:
    status, said = generated.update("--to", str(wheel))
    assert status == 0, said
    assert "How to use it" in generated.read("test_endpoint.sh")
    assert os.access(generated.root / "test_endpoint.sh", os.X_OK)


def test_an_environment_without_pip_says_so(
    generated: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uv makes them."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.modules['pip'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    status, said = generated.update("--to", "0.8.0")
    assert status == 1
    assert "pip is not installed in this environment" in said
    assert "python -m ensurepip" in said


def test_pip_fetches_a_version(generated: Generated, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    status, said = generated.update("--to", "0.8.0")
    assert status == 1
    assert "pip cannot fetch version 0.8.0 of vertex-edge: No matching distribution found" in said
    assert generated.branch == "main"
    status, said = generated.update("--to", "0.9.0")
    assert status == 0, said
    assert "How to use it" in generated.read("test_endpoint.sh")


@pytest.mark.slow
def test_a_repository_inside_another_one_is_updated_there(
    bake_into: Bake, run: Run, tmp_path: Path, newer: Template
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    run("git", "-c", "init.defaultBranch=main", "init", "--quiet", cwd=outer)
    (outer / "README.md").write_text("outer\n")
    inner = Generated(bake_into(outer / "ml", project_slug="inner"), run)
    inner.git("add", "--all", str(outer))
    inner.git("commit", "--quiet", "--message", "All of it")
    newer.edit("edge.yaml", "target: local\n", "target: local  # or gcp\n")
    status, said = inner.update("--to", str(newer.root))
    assert status == 0, said
    assert "# or gcp" in inner.read("edge.yaml")
    assert (outer / "README.md").read_text() == "outer\n"


def test_an_older_package_does_not_take_a_newer_template_back(generated: Generated) -> None:
    generated.edit(".edge-template.json", '"template_version": "0.1.0"', '"template_version": "9.1.0"')
    status, said = generated.update()
    assert status == 1
    assert "has version 9.1.0 of the template, newer than the installed" in said
    assert "git pull, then pip install -r requirements.txt" in said


@pytest.mark.slow
@pytest.mark.parametrize("version", ["null", '"new"', "[]"])
def test_a_broken_record_is_named(generated: Generated, version: str) -> None:
    generated.edit(".edge-template.json", '"template_version": "0.1.0"', f'"template_version": {version}')
    status, said = generated.update()
    assert status == 1
    assert "`.edge-template.json` is broken" in said


def test_what_is_no_template_is_refused(generated: Generated, tmp_path: Path) -> None:
    status, said = generated.update("--to", str(tmp_path))
    assert status == 1
    assert "is not a template of vertex:edge" in said
    (tmp_path / "broken.whl").write_text("no")
    assert "is not a wheel" in generated.update("--to", str(tmp_path / "broken.whl"))[1]


def test_without_the_record_of_the_answers_the_user_is_told(generated: Generated) -> None:
    generated.git("rm", "--quiet", ".edge-template.json")
    generated.git("commit", "--quiet", "--message", "Tidy up")
    status, said = generated.update()
    assert status == 1
    assert "there is no `.edge-template.json`" in said


@pytest.mark.slow
@pytest.mark.parametrize("bundle", sorted(RELEASES.glob("*.bundle")), ids=lambda path: path.stem)
def test_what_each_release_made_can_be_updated(bundle: Path, run: Run, tmp_path: Path, repository: Path) -> None:
    """A bundle is the whole repository that a release made, with a change of its user's on top."""
    run("git", "clone", "--quiet", "--branch", "main", bundle, tmp_path / "old", cwd=tmp_path)
    old = Generated(tmp_path / "old", run)
    status, said = old.update("--to", str(repository))
    assert status == 0, said
    assert "C: 5.0" in old.read("models/digits/params.yaml")
    run(sys.executable, "-m", "dvc", "stage", "list", "--all", cwd=old.root)
    run(Path(sys.executable).parent / "invoke", "config.show", cwd=old.root)


def test_there_is_a_release_to_update_from() -> None:
    assert list(RELEASES.glob("*.bundle"))
