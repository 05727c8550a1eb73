"""The command line as people use it: what a slip is answered, what the screens show, and what Tab completes."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.parser.context import ParserContext

from edge_tasks.explanations import code_of, explanations, with_code
from edge_tasks.main import program
from edge_tasks.tasks import _command_line, namespace
from edge_tasks.tasks._groups import GROUPS
from tests.repositories import Repository, copy

EDGE_YAML = """
target: local
google_cloud_project: {project_id: my-project, region: europe-west1}
storage_bucket: {bucket_name: my-bucket}
models:
  digits: {endpoint_name: digits-endpoint}
  churn: {endpoint_name: churn-endpoint}
"""

Edge = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edge:
    """Run `edge` in this process, in a folder with an edge.yaml; return its exit status, stdout and stderr."""
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("EDGE_TARGET", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)  # invoke sets it

    def run(words: str) -> tuple[int, str, str]:
        try:
            program.run(["edge", *shlex.split(words)])
        except SystemExit as end:
            status = int(end.code or 0)
        else:
            status = 0
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


# --- slips --------------------------------------------------------------------------------------------------------

SLIPS = {
    # a task's name
    "model.deplyo": ("there is no task `model.deplyo`", "did you mean `edge model.deploy`?"),
    "experiment.list": ("there is no task `experiment.list`", "did you mean `edge experiments.list`?"),
    "experiments.lst": ("there is no task `experiments.lst`", "did you mean `edge experiments.list`?"),
    "Model.Deploy": ("there is no task `Model.Deploy`", "did you mean `edge model.deploy`?"),
    "model:deploy": ("there is no task `model:deploy`", "did you mean `edge model.deploy`?"),
    "model_deploy": ("there is no task `model_deploy`", "did you mean `edge model.deploy`?"),
    "deploy": ("there is no task `deploy`", "did you mean `edge model.deploy`?"),
    "train": ("there is no task `train`", "did you mean `edge model.train`?"),
    "describe": ("there is no task `describe`", "did you mean `edge model.describe`?"),
    "docter": ("there is no task `docter`", "did you mean `edge doctor`?"),
    "frobnicate": ("there is no task `frobnicate`", "edge --list shows all tasks"),
    "model deploy": ("a task and its group are one word, with a dot: `model.deploy`", "edge model.deploy"),
    "model depoly": ("there is no task `model.depoly`", "did you mean `edge model.deploy`?"),
    "model": ("`model` is a group of tasks", "edge --list model"),
    "dvc.repro": ("there is no task `dvc.repro`: DVC's commands are typed as they are", "dvc repro"),
    "repro models/digits/dvc.yaml": (
        "there is no task `repro`: DVC's commands are typed as they are",
        "dvc repro models/digits/dvc.yaml",
    ),
    "help": ("there is no task `help`", "did you mean `edge --help`?"),
    "help model.deploy": ("there is no task `help`", "edge model.deploy --help"),
    "--help model.deplyo": ("there is no task `model.deplyo`", "did you mean `edge model.deploy`?"),
    "--list modle": ("there is no group of tasks `modle`", "did you mean `edge --list model`?"),
    "--lst": ("there is no flag `--lst`", "did you mean `edge --list`?"),
    "''": ("there is no task ``", "edge --list shows all tasks"),
    # a flag
    "model.deploy --nam digits": ("`model.deploy` has no flag `--nam`", "did you mean `edge model.deploy --name`?"),
    "model.deploy --dryrun": ("`model.deploy` has no flag `--dryrun`", "did you mean `edge model.deploy --dry-run`?"),
    "model.deploy --dry_run": ("`model.deploy` has no flag `--dry_run`", "did you mean `edge model.deploy --dry-run`?"),
    "model.deploy \N{EM DASH}name digits": (
        "`model.deploy` has no flag `\N{EM DASH}name`",
        "did you mean `edge model.deploy --name`?",
    ),
    "local.save --model digits": ("`local.save` has no flag `--model`", "edge local.save --help lists its flags"),
    "experiments.note --model digits": (
        "`experiments.note` has no flag `--model`",
        "edge experiments.note --help lists its flags",
    ),
    "model.deploy --percent 5": (
        "`model.deploy` has no flag `--percent`",
        "did you mean `edge model.deploy --traffic`?",
    ),
    "model.predict-batch digits --input a.csv": (
        "`model.predict-batch` needs OUTPUT: where the predictions go: a .jsonl or .csv file",
        "edge model.predict-batch OUTPUT",
    ),
    "model.deploy -name digits": ("`-name` has one dash too few", "edge model.deploy --name"),
    "model.deploy --frob": ("`model.deploy` has no flag `--frob`", "edge model.deploy --help lists its flags"),
    "--name digits model.deploy": (
        "`--name` stands before the task that it is for",
        "edge model.deploy --name digits",
    ),
    "model.deploy --dry-run=yes": ("`--dry-run` takes no value, such as `yes`", "edge model.deploy --dry-run"),
    # a value
    "model.deploy --traffic": (
        "`--traffic` of `model.deploy` needs a value: per cent of the requests; the version before keeps the rest",
        "edge model.deploy --traffic 10",
    ),
    "model.deploy --name --traffic 10": (
        "`--name` of `model.deploy` needs a value: the model; not needed when there is only one",
        "edge model.deploy --name NAME",
    ),
    "model.deploy --traffic 10%": ("`10%` is not a number", "such as --traffic 10"),
    "model.deploy digist": ("`edge.yaml` has no model `digist`; it has `digits`, `churn`", "did you mean `digits`?"),
    "model.deploy": ("there are several models: `digits`, `churn`", "add `--name NAME`"),
    # an argument
    "model.init": ("`model.init` needs NAME: the new model's name", "edge model.init NAME"),
    "experiments.show": (
        "`experiments.show` needs RUN-ID: the run's id, or its beginning",
        "edge experiments.show RUN-ID; `edge experiments.list` shows what there is",
    ),
    "model.predict-batch --input a.csv": (
        "`model.predict-batch` needs OUTPUT: where the predictions go: a .jsonl or .csv file",
        "edge model.predict-batch OUTPUT",
    ),
    "model.deploy digits churn": ("`model.deploy` cannot take `churn`: it takes one name", "edge model.deploy NAME"),
    "model.deploy digits --name churn": (
        "`model.deploy` cannot take `digits`: it takes one name",
        "edge model.deploy NAME",
    ),
    "model.deploy name=digits": ("`name=digits` cannot be a name", "edge model.deploy --name digits"),
    "model.train with C=10": ("`model.train` cannot take `C=10`", "edge model.train --set C=10"),
    "model.train C=10": ("`C=10` cannot be a name", "edge model.train --set C=10"),
    "model.predict payload.json": ("`payload.json` cannot be a name", "edge model.predict --file payload.json"),
    "experiments.list 'accuracy>0.9'": (
        "`experiments.list` cannot take `accuracy>0.9`",
        'edge experiments.list --where "accuracy>0.9"',
    ),
    "init gcp": ("`init` cannot take `gcp`", "edge init --target gcp"),
    "model.init my digits": ("`model.init` cannot take `digits`", "edge model.init --example digits"),
    "explain E1O1": ("there is no error with the code `E1O1`", "did you mean `edge explain E101`?"),
    "explain E101 E102": ("`explain` cannot take `E102`: it takes one code", "edge explain CODE"),
    "doctor now": ("`doctor` cannot take `now`", "edge doctor --help shows what it takes"),
}


@pytest.mark.parametrize("typed", SLIPS)
def test_a_slip_is_answered_in_two_lines_with_the_command_that_helps(typed: str, edge: Edge) -> None:
    fact, hint = SLIPS[typed]
    status, out, said = edge(typed)
    assert (status, out) == (1, "")
    assert re.sub(r" \[E\d{3}\]$", "", said, flags=re.MULTILINE) == f"error: {fact}\n\nhint: {hint}\n"


# --- what is understood -------------------------------------------------------------------------------------------


def read(words: str) -> list[str]:
    contexts = {str(context.name): context for context in namespace.to_contexts()}
    return _command_line.read(words.split(), contexts, ParserContext(args=program.core_args())).tokens


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("model.deploy digits", "model.deploy --name digits"),
        ("model.deploy --traffic 10 digits", "model.deploy --name digits --traffic 10"),
        ("model.deploy -t10 -d digits", "model.deploy --name digits -t 10 -d"),
        ("model.deploy --name=digits", "model.deploy --name=digits"),
        ("model.init churn --example digits", "model.init --name churn --example digits"),
        ("model.predict-batch digits --input a --output b", "model.predict-batch --name digits --input a --output b"),
        ("model.predict-batch a b digits", "model.predict-batch --input a --output b --name digits"),
        ("model.train --set C=1 --set D=2 digits", "model.train --name digits --set C=1 --set D=2"),
        ("model.train digits model.deploy digits", "model.train --name digits model.deploy --name digits"),
        ("model.train model.deploy", "model.train model.deploy"),
        ("model.init doctor", "model.init --name doctor"),
        ("local.chaos --delay -1", "local.chaos --delay -1"),
    ],
)
def test_a_name_needs_no_flag_and_stands_anywhere_behind_its_task(typed: str, understood: str) -> None:
    assert read(typed) == understood.split()


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("model.deploy --model digits", "model.deploy --name digits"),
        ("model.deploy --model=digits -d", "model.deploy --name=digits -d"),
        ("pipeline.unschedule --model digits", "pipeline.unschedule --name digits"),
        ("experiments.list --name digits", "experiments.list --model digits"),
        ("jobs.list --name=digits", "jobs.list --model=digits"),
        ("dashboard --name digits", "dashboard --model digits"),
        ("service.run --name web --model digits", "service.run --name web --model digits"),
    ],
)
def test_a_model_is_named_by_either_of_two_flags(typed: str, understood: str) -> None:
    assert read(typed) == understood.split()


# --- screens ------------------------------------------------------------------------------------------------------


def test_a_bare_command_says_where_one_is_and_what_to_type_first(edge: Edge) -> None:
    status, screen, _ = edge("")
    assert status == 0
    assert "target local, models: digits, churn" in screen
    assert len(screen.splitlines()) < 20
    assert "  edge model.deploy      serve the model\n" in screen


def test_a_bare_command_outside_a_repository_says_how_to_make_one(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edge.yaml").unlink()
    assert "cookiecutter gh:fuzzylabs/vertex-edge  make one\n" in edge("")[1]


def test_a_bare_command_tells_a_broken_edge_yaml_from_none(edge: Edge, tmp_path: Path) -> None:
    for content in (b"target: [\n", b"- a\n", b"# f\xfcr\n"):
        (tmp_path / "edge.yaml").write_bytes(content)
        screen = edge("")[1]
        assert "an edge.yaml that cannot be read" in screen
        assert "  edge config.show  what is wrong with it\n" in screen


def test_the_tasks_of_a_group_are_listed_as_they_are_typed(edge: Edge) -> None:
    listed = [line.split()[0] for line in edge("--list jobs")[1].splitlines() if line.startswith(" ")]
    assert listed == ["jobs.list", "jobs.logs", "jobs.cancel"]


@pytest.mark.slow
def test_every_screen_fits_80_columns(edge: Edge) -> None:
    screens = ["", "--help", "--list", "--list model", *(f"{name} --help" for name in namespace.task_names)]
    for words in screens:
        status, screen, _ = edge(words)
        assert status == 0, words
        assert screen, words
        assert max(map(len, screen.splitlines())) <= 80, words


def test_the_list_has_every_task_in_one_line_and_ci_last(edge: Edge) -> None:
    lines = edge("--list")[1].splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == list(GROUPS)
    assert list(GROUPS)[-1] == "CI"
    assert len([line for line in lines if line.startswith("  ")]) == len(namespace.task_names)
    listed = [name for group in GROUPS.values() for name in group]
    assert sorted(listed) == sorted(namespace.task_names)


def test_a_switch_that_is_on_is_shown_as_what_turns_it_off(edge: Edge) -> None:
    screen = edge("model.deploy --help")[1]
    assert "      --no-smoke-test        do not ask the new version" in screen
    assert "--smoke-test " not in screen.replace("--no-smoke-test", "")


def test_what_prints_a_table_or_a_state_prints_it_as_json_too() -> None:
    printing = [
        name
        for name in namespace.task_names
        if re.search(r"print_(table|document)\(", inspect.getsource(inspect.unwrap(namespace[name].body)))
    ]
    assert len(printing) > 12
    printing += ["ci.compare", "model.report", "local.clock"]  # a table in Markdown, and a state that is one word
    assert not [name for name in printing if "json" not in inspect.signature(namespace[name].body).parameters]


# --- completion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("edge model.dep", {"model.deploy", "model.list"}),
        ("edge model.deploy", {"model.deploy", "digits", "churn"}),
        ("edge model.deploy ch", {"digits", "churn"}),
        ("edge model.deploy --name", {"digits", "churn"}),
        ("edge model.deploy --name d", {"digits", "churn"}),
        ("edge model.deploy --tr", {"--traffic", "--no-smoke-test"}),
        ("edge model.init x --example", {"tabular", "digits", "hello-world", "fashion-mnist"}),
        ("edge init --target", {"local", "gcp"}),
        ("edge model.train --on-interrupt le", {"leave"}),
        ("edge model.deploy 'unclosed", {"model.list"}),
    ],
)
def test_tab_completes_tasks_flags_names_and_words(edge: Edge, line: str, offered: set[str]) -> None:
    status, words, said = edge(f"--complete -- {line}" if "'" not in line else '--complete -- edge "model.deploy \'un"')
    assert (status, said) == (0, "")
    assert offered <= set(words.split())


def test_tab_starts_no_server_and_says_nothing_where_nothing_can_be_found_out(edge: Edge, tmp_path: Path) -> None:
    assert edge("--complete -- edge experiments.show --run-id") == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge.yaml"]
    (tmp_path / "edge.yaml").write_text("models: [")
    assert edge("--complete -- edge model.deploy --name") == (0, "", "")


# --- errors by their codes -----------------------------------------------------------------------------------------


def test_an_error_has_the_code_by_which_it_is_explained(edge: Edge, tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").unlink()
    assert edge("model.list")[2].splitlines()[0].endswith("or in a folder above it [E101]")
    for words in ("explain E101", "explain e101", "explain [E101]", "explain --code 101"):
        status, page, _ = edge(words)
        assert status == 0
        assert page.startswith("E101: no `edge.yaml` in `...` or in a folder above it\n\nCommands work anywhere")
    assert json.loads(edge("explain E101 --json")[1])["code"] == "E101"
    assert "E101" in edge("--complete -- edge explain")[1].split()


def test_all_codes_are_listed_and_each_is_one_error_s(edge: Edge) -> None:
    listed = json.loads(edge("explain --json")[1])
    codes = [one["code"] for one in listed]
    assert len(codes) == len(set(codes)) > 25
    assert codes == sorted(codes)
    assert all(one["text"] for one in listed)
    for one in explanations():
        assert code_of(one.message) == one.code, one.message
        assert max(map(len, edge(f"explain {one.code}")[1].splitlines())) <= 80
    assert with_code("the training job 7 ended as FAILED: why\n  | x") == (
        "the training job 7 ended as FAILED: why [E205]\n  | x"
    )


# --- invoke -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_invoke_answers_as_edge_does(baked: dict[str, Path], tmp_path: Path) -> None:
    """It is invoke's own program, which has read the repository's tasks.py."""
    repository = copy(baked["hello-world"], tmp_path)
    assert repository.fails("invoke", "model.deplyo") == (
        "there is no task `model.deplyo`",
        "did you mean `invoke model.deploy`?",
    )
    assert repository.run("invoke").stdout.splitlines()[0].endswith("target local, models: hello-world")
    assert "hello-world" in repository.run("invoke", "--complete", "--", "invoke model.deploy").stdout.split()


@pytest.mark.slow
def test_ctrl_c_before_the_tasks_are_there_is_one_line() -> None:
    code = (
        "import sys\nclass Interrupted:\n  def find_spec(name, *_):\n"
        "    if name == 'edge_tasks.tasks': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted)\nimport edge_tasks.main"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_tasks_of_one_s_own_are_listed_first(baked: dict[str, Path], tmp_path: Path) -> None:
    repository = Repository(tmp_path, copy(baked["hello-world"], tmp_path).environment)
    (tmp_path / "tasks.py").write_text(
        "from invoke import task\n"
        "from edge_tasks.tasks import namespace\n"
        "from edge_tasks.tasks.program import help_invoke\n"
        "help_invoke()\n"
        "@task\n"
        "def polish(c):\n    'Make it shine.'\n    print('shining')\n"
        "namespace.add_task(polish)\n"
    )
    listed = repository.run("invoke", "--list").stdout.splitlines()
    assert listed[0] == "Your own"
    assert listed[1].split() == ["polish", "Make", "it", "shine."]
    assert repository.run("invoke", "polish").stdout == "shining\n"
    assert repository.fails("invoke", "polihs")[1] == "did you mean `invoke polish`?"
