"""Which answers are taken and which are refused, and what the user is told."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_tasks.domain.config import MODEL_NAME, REGIONS, GoogleCloudProject, StorageBucket

Bake = Callable[..., Path]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"

names = st.from_regex(r"[a-z][a-z0-9-]{0,48}[a-z0-9]", fullmatch=True)
project_ids = st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True)
# Texts that come near the limits of the rules: long ones, look-alikes of google, dots and hyphens side by side.
near_bucket_names = st.one_of(
    st.text(alphabet="go0l1e-_.a9A ", max_size=70),
    st.lists(st.sampled_from(["goog", "le", "g00g", "1e", "a", "-", ".", "192", "x" * 60, "_"]), max_size=8).map(
        "".join
    ),
)
near_names = st.one_of(
    st.text(alphabet="ab9-_A.", max_size=53), st.text(max_size=4), names.map(lambda name: name + "-"), names
)


def legal_bucket_name(name: str) -> bool:
    """State the rules of Cloud Storage once more, in other words than the check's."""
    if not 3 <= len(name) <= 63 or set(name) - set(LETTERS + DIGITS + "-_."):
        return False
    parts = name.split(".")
    if any(part == "" or part[0] == "-" or part[-1] == "-" for part in parts):
        return False
    if name[0] == "_" or name[-1] == "_":
        return False
    if len(parts) == 4 and all(part.isdigit() for part in parts):
        return False
    return not name.startswith("goog") and "google" not in name.replace("0", "o").replace("1", "l")


def accepts(check: Callable[[], object]) -> bool:
    try:
        check()
    except ValidationError:
        return False
    return True


def defaults(repository: Path, **answers: str) -> dict[str, str]:
    """Return all answers when the others are left at their defaults."""
    context = generate_context(str(repository / "cookiecutter.json"), extra_context=answers)
    given = prompt_for_config(context, no_input=True)
    return {question: answer for question, answer in given.items() if not question.startswith("_")}


@pytest.mark.parametrize(
    ("answers", "fact", "hint"),
    [
        (
            {"project_slug": "Churn_Model"},
            "error: The project slug `Churn_Model` is not a legal name",
            "for example `churn-model`",
        ),
        ({"project_slug": "9lives"}, "`9lives` is not a legal name", "for example `my-slug`"),
        ({"project_slug": "a" * 51}, "is not a legal name", "2 to 50 lower-case letters"),
        ({"model_name": "x"}, "The model name `x` is not a legal name", "for example `my-name`"),
        ({"model_name": "no"}, "The model name `no` means something else in a YAML file", "`my-no`"),
        ({"model_name": "über"}, "The model name `über` is not a legal name", "for example `ber`"),
        ({"project_name": "  "}, "The project name is empty", "`My ML project`"),
        (
            {"project_name": "a\nb: c"},
            "The project name 'a\\nb: c' holds a line break or another control character",
            "on one line",
        ),
        (
            {"google_cloud_project_id": "My Project"},
            "`My Project` cannot be the id of a Google Cloud project",
            "`gcloud projects list`",
        ),
        ({"google_cloud_project_id": "123456789012"}, "`123456789012` cannot be the id", "not its name or number"),
        ({"region": "us-centrall"}, "`us-centrall` is not a region of Vertex AI", "Did you mean `us-central1`?"),
        ({"region": "London"}, "`London` is not a region of Vertex AI", "Type one such as `us-central1`"),
        ({"region": ""}, "`` is not a region of Vertex AI", "All regions: https://"),
        ({"bucket_name": "Data"}, "The bucket name `Data` is against the rules", "lower-case"),
        ({"bucket_name": "gs://data"}, "it holds something other than lower-case letters", "3 to 63"),
        ({"bucket_name": "ab"}, "it has 2 characters", "3 to 63"),
        ({"bucket_name": "a" * 64}, "it has 64 characters", "3 to 63"),
        ({"bucket_name": "data-"}, "it does not start and end with a letter or digit", "3 to 63"),
        ({"bucket_name": "goog-data"}, "it starts with `goog`", "3 to 63"),
        ({"bucket_name": "my-g00gle"}, "it contains `google` or a look-alike", "without `google`"),
        ({"bucket_name": "10.0.0.1"}, "it looks like an IP address", "3 to 63"),
        ({"bucket_name": "a..b"}, "it has a dot next to another dot", "3 to 63"),
    ],
)
def test_a_bad_answer_is_refused_with_the_reason_and_leaves_nothing(
    bake: Bake,
    answers_module: types.ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, str],
    fact: str,
    hint: str,
) -> None:
    with pytest.raises(answers_module.BadAnswer) as refused:
        bake(**answers)
    refused.value.show()
    shown = capsys.readouterr().err
    assert re.search(r"\Aerror: .+\n\nhint: .+\n\Z", shown)
    assert fact in shown
    assert hint in shown.split("\n\nhint: ")[1]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("example=fashion", "Did you mean `fashion-mnist`? There are `hello-world`, `tabular`, `digits`, `fashion-mnist`"),
        ("ci=jenkins", "There are `circleci`, `github`, `none`"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_choices(
    repository: Path, tmp_path: Path, answer: str, hint: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", str(repository), answer],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    question, _, given = answer.partition("=")
    assert done.returncode == 1
    assert done.stderr == f"error: `{given}` is not an answer to the question `{question}`\n\nhint: {hint}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_choice_may_be_given_by_its_number(repository: Path) -> None:
    answers = defaults(repository, example="3", ci="3")
    assert (answers["example"], answers["model_name"], answers["ci"]) == ("digits", "digits", "none")


def test_on_a_terminal_a_refused_answer_is_asked_for_again(repository: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cookiecutter", str(repository)],
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        os.write(ours, b"\nChurn_Model\nchurn-model\ndigit\ndigits\n\n\n\n\n3\n2\n")
        _, said = process.communicate(timeout=60)
        os.close(ours)
    assert process.returncode == 0, said
    assert "error: The project slug `Churn_Model` is not a legal name" in said
    assert "hint: Did you mean `digits`?" in said
    assert [path.name for path in tmp_path.iterdir()] == ["churn-model"]
    recorded = json.loads((tmp_path / "churn-model" / ".edge-template.json").read_text())
    assert recorded["answers"]["example"] == recorded["answers"]["model_name"] == "digits"
    assert recorded["answers"]["bucket_name"] == "my-gcp-project-churn-model"
    assert recorded["answers"]["infrastructure"] == "terraform"


def test_the_program_ends_with_status_1_and_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", str(repository), "region=mars"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: `mars` is not a region of Vertex AI\n\nhint: .+\n", done.stderr)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_bad_answer_is_refused_before_the_next_question(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(repository)],
        cwd=tmp_path,
        input="\nChurn_Model\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "[2/9]" in done.stdout
    assert "[3/9]" not in done.stdout
    assert done.stderr.startswith("error: The project slug `Churn_Model` is not a legal name\n\nhint: ")
    assert list(tmp_path.iterdir()) == []


def test_every_answer_in_words_is_checked(repository: Path) -> None:
    questions = json.loads((repository / "cookiecutter.json").read_text())
    names = list(questions)
    for name in (name for name in names if not name.startswith("_") and isinstance(questions[name], str)):
        check = names[names.index(name) + 1]
        assert (check, questions[check]) == (f"__{name}", f"<< cookiecutter.{name} | checked('{name}') >>")


def test_pressing_enter_throughout_works(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(repository)],
        cwd=tmp_path,
        input="\n" * 9,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "[8/9] Where tests, training and releases run" in done.stdout
    assert "[9/9] What makes APIs, bucket, accounts and roles" in done.stdout
    assert "    cd my-ml-project\n" in done.stdout
    assert "    dvc repro models/hello-world/dvc.yaml\n" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["my-ml-project"]


def test_every_question_has_words_for_people(repository: Path, answers_module: types.ModuleType) -> None:
    questions = json.loads((repository / "cookiecutter.json").read_text())
    asked = [name for name in questions if not name.startswith("_")]
    assert list(questions["__prompts__"]) == asked
    for name in asked:
        for number, choice in enumerate(answers_module.CHOICES.get(name, ()), 1):
            assert f"{number} - {choice}: " in questions["__prompts__"][name]


def test_the_questions_come_in_this_order(repository: Path) -> None:
    assert list(defaults(repository).items()) == [
        ("project_name", "My ML project"),
        ("project_slug", "my-ml-project"),
        ("example", "hello-world"),
        ("model_name", "hello-world"),
        ("google_cloud_project_id", "my-gcp-project"),
        ("region", "us-central1"),
        ("bucket_name", "my-gcp-project-my-ml-project"),
        ("ci", "circleci"),
        ("infrastructure", "none"),
    ]


def test_the_model_is_named_after_the_example(repository: Path) -> None:
    assert defaults(repository, example="digits")["model_name"] == "digits"


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(project_name=st.text(min_size=1, max_size=80))
@example(project_name="NO")
def test_the_default_slug_is_legal_for_any_project_name(
    repository: Path, answers_module: types.ModuleType, project_name: str
) -> None:
    assume(not list(answers_module.project_name_problems(project_name)))
    # cookiecutter renders what is given on its command line, so such a name is a template there.
    assume(not any(mark in project_name for mark in ("<<", "<%", "<#")))
    slug = defaults(repository, project_name=project_name)["project_slug"]
    assert not list(answers_module.name_problems("project slug", slug))


@pytest.mark.parametrize(
    ("project_name", "slug"),
    [("Prévision 2030!", "prevision-2030"), ("2030", "project-2030"), ("🚀", "project"), ("X", "project-x"), ("No", "project-no")],
)
def test_the_default_slug_keeps_what_it_can(repository: Path, project_name: str, slug: str) -> None:
    assert defaults(repository, project_name=project_name)["project_slug"] == slug


near_google = st.lists(st.sampled_from(["goog", "g00g", "g0og", "le", "1e", "go", "o", "-", "0"]), max_size=8).map(
    lambda parts: ("a" + "".join(parts) + "z")[:50]
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    project_id=st.one_of(project_ids, st.sampled_from(["google-shop", "goog00", "my-g00gle", "googoogle"])),
    slug=st.one_of(names, near_google.filter(lambda name: MODEL_NAME.fullmatch(name) is not None)),
)
def test_the_default_bucket_name_is_legal_for_legal_answers(
    repository: Path, answers_module: types.ModuleType, project_id: str, slug: str
) -> None:
    assume(not list(answers_module.name_problems("project slug", slug)))
    bucket_name = defaults(repository, google_cloud_project_id=project_id, project_slug=slug)["bucket_name"]
    assert legal_bucket_name(bucket_name), bucket_name


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(name=near_bucket_names)
def test_bucket_names_follow_the_rules_of_cloud_storage(answers_module: types.ModuleType, name: str) -> None:
    accepted = not list(answers_module.bucket_name_problems(name))
    assert accepted == legal_bucket_name(name)
    assert accepted == accepts(lambda: StorageBucket(bucket_name=name))


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(name=near_names)
def test_names_are_short_lower_case_words(answers_module: types.ModuleType, name: str) -> None:
    legal = (
        2 <= len(name) <= 50 and not set(name) - set(LETTERS + DIGITS + "-") and name[0] in LETTERS and name[-1] != "-"
    )
    accepted = not list(answers_module.name_problems("model name", name))
    assert accepted == (legal and name not in {"no", "on", "off", "yes", "true", "false", "null"})


@settings(max_examples=300, deadline=None)
@given(project_id=st.one_of(project_ids, near_names))
def test_project_ids_are_those_that_edge_yaml_takes(answers_module: types.ModuleType, project_id: str) -> None:
    accepted = not list(answers_module.project_id_problems(project_id))
    assert accepted == accepts(lambda: GoogleCloudProject(project_id=project_id, region="us-central1"))


def test_the_regions_are_those_that_edge_yaml_takes(answers_module: types.ModuleType) -> None:
    assert len(answers_module.REGIONS) == len(set(answers_module.REGIONS)) == 39
    assert set(answers_module.REGIONS) == set(REGIONS)
