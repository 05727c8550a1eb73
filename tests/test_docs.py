"""The pages tell the truth: their commands run, their links lead somewhere, the messages that they explain exist.

A page's ```sh blocks are one session in one shell, in the order of the page. A block that no test runs has a comment
above it, `<!-- not run: REASON -->`. README.md's commands have their own tests, in test_readme.py.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import edge_tasks
from edge_tasks.tasks import namespace
from tests.repositories import ROOT, clean_environment, pip_beside

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]

# Others' names for what invoke does not list, where a page says `edge ...` of the tool of 2021.
OF_2021 = "migrating.md"


@dataclass(frozen=True)
class Block:
    """A block of commands, and the reason why no test runs it."""

    commands: str
    not_run: str | None


def blocks(text: str) -> list[Block]:
    """Return the ```sh blocks of a page."""
    found = re.findall(r"(?:^<!-- not run: (.+?) -->\n)?^( *)```sh\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)
    return [Block(commands, reason or None) for reason, _, commands in found]


def anchors(text: str) -> set[str]:
    """Return the names by which GitHub links to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# --- links and names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            assert link.startswith("https://"), link
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(read(target)), link


@pytest.mark.parametrize(
    "page", [page for page in DOCS if page.name not in ("index.md", "parity.md", "reference.md")], ids=ids
)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    assert f"(docs/{page.name})" in read(ROOT / "README.md")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != OF_2021], ids=ids)
def test_every_task_named_exists(page: Path) -> None:
    spans = re.findall(r"`[^`\n]+`", read(page)) + [block.commands for block in blocks(read(page))]
    named = re.findall(r"(?:\binvoke|(?<!-)\bedge) ([a-z]+(?:\.[a-z-]+)?)\b(?![/.])", "\n".join(spans))
    assert set(named) <= set(namespace.task_names), page


def test_the_new_names_on_the_page_about_2021_exist() -> None:
    named = re.findall(r"`invoke ([a-z]+(?:\.[a-z-]+)?)", read(ROOT / "docs" / OF_2021))
    assert named
    assert set(named) <= set(namespace.task_names)


# --- what is generated --------------------------------------------------------------------------------------------


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/reference.py")], capture_output=True, text=True, check=True
    )
    assert read(ROOT / "docs/reference.md") == done.stdout, "make reference"


# --- what is quoted -----------------------------------------------------------------------------------------------


def messages() -> list[str]:
    """Return every text in the package as a user may see it, with `...` for what stands in braces."""
    found = []
    package = Path(edge_tasks.__file__).parent
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "_template"):
            continue
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
                found.append("".join(parts))
    return found


def explained() -> list[str]:
    return re.findall(r"^### E\d{3}: (.+)$", read(ROOT / "docs/troubleshooting.md"), flags=re.MULTILINE)


@pytest.mark.slow
def test_every_message_explained_is_one_that_the_package_gives() -> None:
    def pattern(message: str) -> re.Pattern[str]:
        # What stands for a name may be a name in the code already: `edge.yaml` is written {FILE_NAME}.
        parts = re.split(r"\.\.\.|(?<=`)edge\.yaml(?=`)", message)
        return re.compile(".*?".join(map(re.escape, parts)))

    known = messages()
    assert len(explained()) > 20
    for message in explained():
        given = pattern(message)
        assert any(given.search(text) for text in known), message


# --- running the commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in ("README.md", "tutorial.md", "emulator.md", "monitoring.md")],
    ids=ids,
)
def test_every_other_command_says_why_it_is_not_run(page: Path) -> None:
    """Both tutorials are run below, README.md in test_readme.py, emulator.md in emulator/test_languages.py."""
    assert not [block for block in blocks(read(page)) if block.not_run is None]


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the tutorial's commands print, typed one after the other."""
    return typed(tmp_path_factory.mktemp("tutorial"), "tutorial.md", "digits")


def typed(folder: Path, page: str, slug: str) -> str:
    """What a page's commands print, typed one after the other next to a checkout; they make the repository `slug`."""
    (folder / "home").mkdir()
    (folder / "vertex-edge").symlink_to(ROOT)
    commands = [block.commands for block in blocks(read(ROOT / "docs" / page)) if block.not_run is None]
    environment = clean_environment(folder / "home")
    environment |= {
        "PATH": f"{pip_beside(folder / 'bin')}:{environment['PATH']}",
        "PIP_NO_INDEX": "1",  # all that the requirements ask for is installed, which uv checks
        **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
    }
    try:
        done = subprocess.run(
            ["bash", "-c", "set -ex\n" + "\n".join(commands)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=800,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout
    finally:
        edge = str(Path(sys.executable).parent / "edge")
        if (folder / slug).exists():
            subprocess.run([edge, "local.stop"], cwd=folder / slug, env=environment, capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_s_commands_work_as_they_stand(tutorial: str) -> None:
    assert '{"predictions":[7,6,3]' in tutorial.replace(" ", "")
    assert '{"predictions":[1,1]' in tutorial.replace(" ", "")
    assert "| models/digits/metrics.json | accuracy |" in re.sub(r" +", " ", tutorial)
    assert "create-oidc circleci-" in tutorial


def test_the_tutorial_leaves_out_only_what_costs_or_needs_a_network() -> None:
    reasons = {block.not_run for block in blocks(read(ROOT / "docs/tutorial.md"))} - {None}
    assert reasons == {"needs a network", "needs a Google account"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_monitoring_tutorial_finds_the_change_trains_and_promotes(tmp_path: Path) -> None:
    told = typed(tmp_path, "monitoring.md", "customers")
    alarms = ("an alarm, as it should be", "the model needs new data", "version 1 was asked otherwise")
    # What each look says of the ages: in the file, calm, older, of the two versions, after the training.
    verdicts = [line.split("\t")[-1] for line in told.splitlines() if line.startswith("age\t")]
    assert verdicts == ["changed", "same", "changed", "changed", "same"]
    assert [told.count(f"\n{alarm}\n") for alarm in alarms] == [1, 1, 1]
