"""Refuse an answer that would make a repository that does not work, as soon as it is given.

cookiecutter.json names `Answers` as an extension of Jinja, and puts each answer through its filter `checked` right
after the question; on a terminal a refused one is asked for again. So questions with choices are plain ones, too:
cookiecutter answers an unknown choice on its command line with a traceback. A pre_gen hook would see the answers only
when all are given, and cookiecutter prints a traceback when one of its hooks refuses.
https://cookiecutter.readthedocs.io/en/stable/advanced/local_extensions.html

cookiecutter imports this file where nothing else of this project may be installed: it can import only what
cookiecutter itself needs.
"""

from __future__ import annotations

import difflib
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import click
from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context

from hooks import source

NAME = re.compile(r"[a-z][a-z0-9-]{0,48}[a-z0-9]")
PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
IP_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
GOOGLE_LOOKALIKE = re.compile(r"g[o0][o0]g[l1]e")

# YAML 1.1 reads these as true, false or null where a name is meant.
YAML_WORDS = frozenset({"false", "no", "null", "off", "on", "true", "yes"})

# https://cloud.google.com/vertex-ai/docs/general/locations
REGIONS = (
    "africa-south1",
    *("asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
    *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2"),
    *("australia-southeast1", "australia-southeast2"),
    *("europe-central2", "europe-north1", "europe-southwest1"),
    *("europe-west1", "europe-west2", "europe-west3", "europe-west4"),
    *("europe-west6", "europe-west8", "europe-west9", "europe-west12"),
    *("me-central1", "me-central2", "me-west1"),
    *("northamerica-northeast1", "northamerica-northeast2"),
    *("southamerica-east1", "southamerica-west1"),
    *("us-central1", "us-east1", "us-east4", "us-east5"),
    *("us-south1", "us-west1", "us-west2", "us-west3", "us-west4"),
)

CHOICES = {
    "example": ("hello-world", "tabular", "digits", "fashion-mnist"),
    "ci": ("circleci", "github", "none"),
    "infrastructure": ("none", "terraform"),
}


class Problem(NamedTuple):
    """What is wrong with an answer, and what to type instead."""

    fact: str
    hint: str


def project_name_problems(name: str) -> Iterator[Problem]:
    if not name.strip():
        yield Problem("The project name is empty", "Type any name, for example `My ML project`")
    # Format characters (Cf) stay legal: emoji and Persian are written with them.
    elif any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        yield Problem(
            f"The project name {name!r} holds a line break or another control character",
            "Type the name on one line",
        )


def name_problems(what: str, name: str) -> Iterator[Problem]:
    if not NAME.fullmatch(name):
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        legal = words if NAME.fullmatch(words) else "my-" + what.split()[-1]
        yield Problem(
            f"The {what} `{name}` is not a legal name",
            "Use 2 to 50 lower-case letters, digits and hyphens, a letter first and no hyphen at the end, "
            f"for example `{legal}`",
        )
    elif name in YAML_WORDS:
        yield Problem(
            f"The {what} `{name}` means something else in a YAML file",
            f"Choose another name, for example `my-{name}`",
        )


def project_id_problems(project_id: str) -> Iterator[Problem]:
    if not PROJECT_ID.fullmatch(project_id):
        yield Problem(
            f"`{project_id}` cannot be the id of a Google Cloud project",
            "Type the project's id, not its name or number: 6 to 30 lower-case letters, digits and hyphens, "
            "a letter first and no hyphen at the end; `gcloud projects list` shows your projects' ids",
        )


def region_problems(region: str) -> Iterator[Problem]:
    if region not in REGIONS:
        near = difflib.get_close_matches(region.lower(), REGIONS, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else "Type one such as `us-central1`."
        yield Problem(
            f"`{region}` is not a region of Vertex AI",
            f"{hint} All regions: https://cloud.google.com/vertex-ai/docs/general/locations",
        )


def bucket_name_problems(name: str) -> Iterator[Problem]:
    """Apply https://cloud.google.com/storage/docs/buckets#naming, and edge.yaml's limit of 63 characters in all."""
    fact = ""
    if not re.fullmatch(r"[a-z0-9._-]*", name):
        fact = "holds something other than lower-case letters, digits, hyphens, underscores and dots"
    elif not 3 <= len(name) <= 63:
        fact = f"has {len(name)} characters"
    elif not (name[0].isalnum() and name[-1].isalnum()):
        fact = "does not start and end with a letter or digit"
    elif any(pair in name for pair in ("..", ".-", "-.")):
        fact = "has a dot next to another dot or a hyphen"
    elif IP_ADDRESS.fullmatch(name):
        fact = "looks like an IP address"
    elif name.startswith("goog"):
        fact = "starts with `goog`"
    elif GOOGLE_LOOKALIKE.search(name):
        fact = "contains `google` or a look-alike of it"
    if fact:
        yield Problem(
            f"The bucket name `{name}` is against the rules of Cloud Storage: it {fact}",
            "Use 3 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends and "
            "without `google` in any spelling",
        )


def choice_problems(question: str, answer: str) -> Iterator[Problem]:
    choices = CHOICES[question]
    if answer not in choices:
        near = difflib.get_close_matches(answer.lower(), choices, n=1)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        yield Problem(
            f"`{answer}` is not an answer to the question `{question}`",
            f"{hint}There are {', '.join(f'`{choice}`' for choice in choices)}",
        )


CHECKS: dict[str, Callable[[str], Iterator[Problem]]] = {
    "project_name": project_name_problems,
    "project_slug": lambda name: name_problems("project slug", name),
    "example": lambda answer: choice_problems("example", answer),
    "model_name": lambda name: name_problems("model name", name),
    "google_cloud_project_id": project_id_problems,
    "region": region_problems,
    "bucket_name": bucket_name_problems,
    "ci": lambda answer: choice_problems("ci", answer),
    "infrastructure": lambda answer: choice_problems("infrastructure", answer),
}


class BadAnswer(click.ClickException):
    """An answer is refused. cookiecutter's command shows it as one of its own errors, and ends with status 1."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.fact)
        self.hint = problem.hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the fact, then what to type instead."""
        click.echo(f"error: {self.message}\n\nhint: {self.hint}", file=file, err=True)


@pass_context
def checked(context: Context, answer: str, question: str) -> str:
    """Return the answer, which is asked for until it is legal. Raises BadAnswer where nobody is there to be asked."""
    while True:
        answer = _named(question, answer)
        problem = next(CHECKS[question](answer), None)
        if problem is None:
            # Where cookiecutter keeps it: later defaults are made of it.
            context["cookiecutter"][question] = answer
            return answer
        refusal = BadAnswer(problem)
        if not _can_ask():
            raise refusal
        refusal.show()
        answer = click.prompt("  Again", type=str, err=True)


def _named(question: str, answer: str) -> str:
    """Return the choice that a number stands for; any other answer as it is."""
    choices = CHOICES.get(question, ())
    return choices[int(answer) - 1] if answer in {str(number + 1) for number in range(len(choices))} else answer


def _can_ask() -> bool:
    command = click.get_current_context(silent=True)
    return command is not None and not command.params.get("no_input") and sys.stdin.isatty()


class Answers(Extension):
    """Gives Jinja the filter `checked`, and `requirement`, which pip installs this project by."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["checked"] = checked
        environment.filters["requirement"] = source.requirement
