"""The README tells the truth: its commands are run as they stand there, and what it names exists."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_tasks.tasks import namespace
from tests.repositories import ROOT, Repository, clean_environment

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_REPOSITORY, EMULATOR_ALONE = "Make your own repository", "The emulator alone"

# A line of the README that no test runs, and why not.
NOT_RUN = {
    "cookiecutter gh:fuzzylabs/vertex-edge && cd my-ml-project": "needs the network; its parts are part of the loop",
    "pip install -r requirements.txt && invoke init": "needs the network; tests/template/test_install.py runs it",
    "git clone https://github.com/fuzzylabs/vertex-edge": "needs the network; the checkout under test stands for it",
    "make -C vertex-edge demo": "has its own test: .ci/run",
    "python3 -m venv ~/edge-venv": "needs the network for what goes into it; the tests' environment stands for it",
    "source ~/edge-venv/bin/activate": "there is no such environment, see above",
    "pip install cookiecutter": "needs the network",
    "pip install -r requirements.txt": "needs the network; tests/template/test_install.py runs it",
}


# --- reading the README -----------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """The text below each heading; what stands before the first `##` is under its own title."""
    parts = re.split(r"^##? (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def fenced(text: str) -> list[str]:
    """What stands between ```python and ```."""
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def indented(text: str) -> list[str]:
    """The lines of the indented blocks, one after the other."""
    return [line.removeprefix("    ") for line in without_fences(text).splitlines() if line.startswith("    ")]


def commands(section: str) -> list[str]:
    """The commands that a section shows; explanations next to them, two spaces off, are left out."""
    return [re.split(r"\s{2,}", line)[0] for line in indented(sections()[section])]


def files_promised() -> list[tuple[str, str]]:
    """Each path of the list under `What you get`, with what is said of it."""
    rows = [line.partition(" ") for line in indented(sections()["What you get"])]
    return [(path, said.strip()) for path, _, said in rows]


@dataclass(frozen=True)
class Mention:
    """A task as the README writes it, with the flags shown next to it."""

    task: str
    flags: tuple[str, ...]


def mentions(cell: str) -> Iterator[Mention]:
    """Read a cell of the table of commands. After a first `invoke a.b`, `c` alone means `a.c`, and `c.d` itself."""
    collection = ""
    for span in re.findall(r"`([^`]+)`", cell):
        inner = re.search(r"\$\((.+)\)", span)
        words = shlex.split(inner[1] if inner else span)
        name, *others = words[1:] if words[0] == "invoke" else words
        if words[0] != "invoke" and "." not in name:
            name = f"{collection}.{name}"
        collection = name.rpartition(".")[0]
        yield Mention(name, tuple(word for word in others if word.startswith("-")))


def table() -> list[Mention]:
    rows = [line for line in sections()["The commands"].splitlines() if line.startswith("| `")]
    return [mention for row in rows for mention in mentions(row.split("|")[1])]


def flags(task: str) -> set[str]:
    """The flags that invoke takes for a task."""
    return next(set(context.flags) for context in namespace.to_contexts() if context.name == task)


# --- what stands in it ------------------------------------------------------------------------------------------

RUN_AS_THE_LOOP = [line for line in commands(OWN_REPOSITORY) if line not in NOT_RUN]
RUN_OTHERWISE = {
    "dvc repro": "the loop's fixture ends with it",
    "invoke model.deploy": "part of the loop",
    "./test_endpoint.sh": "part of the loop",
}


def is_emulator_command(line: str) -> bool:
    return line.startswith(("python -m edge_tasks.emulator", "export "))


def test_every_command_line_is_run_or_listed_with_the_reason_why_not() -> None:
    known = {*NOT_RUN, *RUN_AS_THE_LOOP, *RUN_OTHERWISE}
    for section in sections():
        if section == "What you get":
            continue
        for line in commands(section):
            known_here = section == EMULATOR_ALONE and is_emulator_command(line)
            assert line in known or known_here, f"`{line}` under `{section}` is not run by any test"


def test_no_line_is_excused_that_the_readme_no_longer_shows() -> None:
    shown = {line for section in sections() for line in commands(section)}
    assert shown >= NOT_RUN.keys() | RUN_OTHERWISE.keys()


def test_each_command_is_typed_where_what_it_names_is() -> None:
    """Read from the top in one shell: nobody has to go back to another folder between two blocks."""
    here, folders = "", {""}
    for section in ("vertex:edge", "See it run", OWN_REPOSITORY):
        for line in (part for shown in commands(section) for part in shown.split(" && ")):
            words = line.split()
            if words[0] == "cd":
                here = f"{here}/{words[1]}"
            elif words[:2] == ["git", "clone"]:
                folders.add(f"{here}/{words[2].rpartition('/')[2]}")
            elif words[0] == "cookiecutter":
                folders.add(f"{here}/my-ml-project")
            elif words[:2] == ["make", "-C"]:
                assert f"{here}/{words[2]}" in folders, line
            elif line.startswith(("invoke", "dvc", "./", "pip install -r")):
                assert here.endswith("/my-ml-project"), line
            assert here in folders, line
        if section == "vertex:edge":  # the lines at the top are a summary of what follows
            here, folders = "", {""}


def test_the_loop_is_the_whole_loop() -> None:
    first_words = [" ".join(line.split()[:2]) for line in RUN_AS_THE_LOOP]
    loop = [
        "cookiecutter gh:fuzzylabs/vertex-edge",
        "cd my-ml-project",
        "invoke init",
        "dvc repro",
        "invoke model.deploy",
    ]
    assert first_words == [*loop, "./test_endpoint.sh"]


def test_every_task_is_in_the_table() -> None:
    assert {mention.task for mention in table()} == set(namespace.task_names)


def test_every_flag_in_the_table_exists() -> None:
    for mention in table():
        assert set(mention.flags) <= flags(mention.task), mention


def test_every_task_that_needs_a_name_takes_the_flag_for_several_models() -> None:
    assert "With several models, name one: `invoke model.deploy NAME`, or with `--name NAME`" in TEXT
    for task in ("describe", "deploy", "predict", "get-endpoint", "undeploy", "remove"):
        assert "--name" in flags(f"model.{task}")


def test_every_task_named_anywhere_exists() -> None:
    named = re.findall(r"(?:invoke|edge) ([a-z]+(?:\.[a-z-]+)?)\b(?!/)", "\n".join(re.findall(r"`[^`\n]+`", TEXT)))
    assert "model.undeploy" in named
    assert set(named) <= set(namespace.task_names)


def test_every_make_target_named_anywhere_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", TEXT))
    assert "demo" in named
    assert named <= targets


def test_relative_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        assert not path or (ROOT / path).exists(), link
        headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in sections()}
        assert not anchor or path or anchor in headings, link


def test_files_of_the_checkout_named_in_code_exist() -> None:
    for path in re.findall(r"`((?:tests|scripts|benchmarks|hooks|template)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path


def test_the_python_versions_are_those_of_the_package() -> None:
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    versions = re.findall(r"Programming Language :: Python :: (3\.\d+)", metadata)
    first, last = re.findall(r"Python (3\.\d+) to (3\.\d+)", TEXT)[0]
    assert (first, last) == (versions[0], versions[-1])


def test_the_emulator_listens_where_its_example_connects() -> None:
    text = sections()[EMULATOR_ALONE]
    command = next(line for line in commands(EMULATOR_ALONE) if is_emulator_command(line))
    port = re.search(r"--port (\d+)", command)
    assert port, f"`{command}` lets the emulator choose a port, and the example below it names one"
    assert f'api_endpoint="http://127.0.0.1:{port[1]}"' in fenced(text)[0]


# --- running it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loop:
    """A repository in which everything under `Make your own repository` was typed, and what that printed."""

    repository: Repository
    output: str


@pytest.fixture(scope="module")
def loop(github: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "home").mkdir()
    repository = Repository(folder / "my-ml-project", clean_environment(folder / "home") | github)
    script = "\n".join(["set -e", *RUN_AS_THE_LOOP, "dvc repro"])
    try:
        # cookiecutter's questions are answered by pressing Enter throughout.
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=folder, env=repository.environment, input="\n" * 20, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        yield Loop(repository, result.stdout)
    finally:
        if repository.root.exists():
            repository.run("invoke", "local.stop", check=False)


class TestTheLoop:
    @pytest.mark.slow
    def test_cookiecutter_asks_as_many_questions_as_it_says(self, loop: Loop) -> None:
        numbers = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        asked = set(re.findall(r"\[(\d+)/(\d+)\] [A-Z]", loop.output))
        said = re.search(r"cookiecutter asks (\w+) questions", TEXT)
        assert said
        assert asked == {(str(number), str(len(asked))) for number in range(1, len(asked) + 1)}
        assert numbers.index(said[1]) == len(asked)

    @pytest.mark.slow
    def test_the_endpoint_answers_predictions(self, loop: Loop) -> None:
        answers = [json.loads(line) for line in loop.output.splitlines() if line.startswith('{"predictions"')]
        assert [answer["predictions"] for answer in answers] == [[1, 1]]

    def test_every_file_promised_is_there(self, loop: Loop) -> None:
        for path, said in files_promised():
            assert (loop.repository.root / path).exists(), path
            if path.startswith("models/"):
                listed = said.split(", ")
                assert "train.py" in listed
                assert not [name for name in listed if not (loop.repository.root / path / name).exists()]

    def test_the_training_shown_is_the_one_that_is_made(self, loop: Loop) -> None:
        made = loop.repository.run("git", "show", "HEAD:models/hello-world/train.py").stdout
        (shown,) = fenced(sections()["What you get"])
        assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(made))

    @pytest.mark.slow
    def test_the_training_shown_runs_as_it_stands(self, loop: Loop, tmp_path: Path) -> None:
        (line,) = re.findall(r"`(python models/[^`]+)`", TEXT)
        assert line == "python models/hello-world/train.py with is_vertex=False"
        (shown,) = fenced(sections()["What you get"])
        folder = loop.repository.root / "models" / "hello-world"
        (folder / "train.py").write_text(shown, encoding="utf-8")
        trained = folder / "trained_model.json"

        loop.repository.run(*shlex.split(line))
        assert json.loads(trained.read_text())["job"] is None
        loop.repository.run(*shlex.split(line.replace("False", "True")))
        assert "/customJobs/" in json.loads(trained.read_text())["job"]

        (call,) = re.findall(r"`(train\.run\([^`]+\))`", TEXT)
        results = tmp_path / "results"
        program = f"import sys, pathlib, train; tmp_path = pathlib.Path(sys.argv[1]); {call}"
        before = trained.read_bytes()
        loop.repository.run("python", "-c", program, str(results), PYTHONPATH=str(folder))
        assert (results / "model" / "model.joblib").is_file()
        assert trained.read_bytes() == before


class Emulator:
    """The emulator, started as the README says, except that it chooses its ports and its data go to `folder`."""

    def __init__(self, folder: Path) -> None:
        (folder / "home").mkdir()
        lines = [line for line in commands(EMULATOR_ALONE) if is_emulator_command(line)]
        words = shlex.split(
            re.sub(r"--(storage-)?port \d+", "", lines[0]).replace("DIR", shlex.quote(f"{folder}/data"))
        )
        self._process = subprocess.Popen(
            [sys.executable, *words[1:]], env=clean_environment(folder / "home"), stdout=subprocess.PIPE, text=True
        )
        try:
            assert self._process.stdout is not None
            announced = re.findall(r"http://127\.0\.0\.1:\d+", self._process.stdout.readline())
            self.url, storage_url = announced
            # The README's addresses, and those that stand for them.
            shown = dict(re.findall(r"--(port|storage-port) (\d+)", lines[0]))
            self._addresses = {
                f"http://127.0.0.1:{shown.get('port', 8080)}": self.url,
                f"http://127.0.0.1:{shown.get('storage-port', 0)}": storage_url,
            }
            exports = [self.readdressed(line).removeprefix("export ") for line in lines[1:]]
            names_and_values = [export.partition("=") for export in exports]
            self.environment = clean_environment(folder / "home")
            self.environment |= {name: value for name, _, value in names_and_values}
        except BaseException:
            self.stop()
            raise

    def readdressed(self, text: str) -> str:
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        return text

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path)
    yield running
    running.stop()


USE_OF_THE_SDK = """
import sys, time
from google.cloud import storage
storage.Client(project="my-project").create_bucket("my-bucket", location="us-central1")
endpoint = aiplatform.Endpoint.create(display_name="an endpoint")
assert [item.name for item in aiplatform.Endpoint.list()] == [endpoint.name]
pool = {
    "machine_spec": {"machine_type": "n1-standard-4"},
    "replica_count": 1,
    "container_spec": {"image_uri": "python:3.11", "command": ["python3", "-c", "print(1)"]},
}
job = aiplatform.CustomJob(display_name="a job", worker_pool_specs=[pool])
job.submit()
while job.state.name in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
    time.sleep(0.02)
assert job.state.name == "JOB_STATE_SUCCEEDED", job.error
"""


@pytest.mark.slow
def test_the_sdk_connects_to_the_emulator_as_shown(emulator: Emulator, tmp_path: Path) -> None:
    shown, _ = fenced(sections()[EMULATOR_ALONE])
    program = emulator.readdressed(shown)
    assert emulator.url in program
    (tmp_path / "program.py").write_text(program + USE_OF_THE_SDK, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        cwd=tmp_path, env=emulator.environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_test_with_the_fixture_passes_as_shown(tmp_path: Path) -> None:
    _, shown = fenced(sections()[EMULATOR_ALONE])
    (tmp_path / "test_shown.py").write_text(shown, encoding="utf-8")
    (tmp_path / "home").mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=clean_environment(tmp_path / "home"), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def test_the_emulator_refuses_what_the_readme_says_it_refuses(emulator: Emulator) -> None:
    """Other methods are answered with 501 UNIMPLEMENTED and their name."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        url = f"{emulator.url}/v1/projects/p/locations/us-central1/featurestores"
        answer = session.get(url, timeout=10)
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert error["status"] == "UNIMPLEMENTED"
    assert "ListFeaturestores" in error["message"]
