"""The command of a lightweight Python component as kfp 2 writes it, taken apart: it needs neither pip nor a shell.

https://www.kubeflow.org/docs/components/pipelines/user-guides/components/lightweight-python-components/

The function's source stands in the command, which installs kfp and `packages_to_install`, and runs kfp's executor.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement

SHELL = ["sh", "-c"]
RUNS_SOURCE = ["sh", "-ec"]
EXECUTOR = "python3 -m kfp.dsl.executor_main"
INSTALL = re.compile(r"python3? -m pip install ((?:[^&\n]|&(?!&))*)")
SWITCHES = frozenset({"--quiet", "--no-warn-script-location", "--no-deps", "--disable-pip-version-check", "--user"})


@dataclass(frozen=True)
class PythonComponent:
    """A lightweight component: its source, the kfp that runs it, and what it asks pip for; `options` are pip's."""

    source: str
    kfp: str
    requirements: tuple[str, ...]
    options: tuple[str, ...]


def read(command: list[str]) -> PythonComponent | None:
    """Return the component of a command; None when the command is another one, or not wholly understood."""
    if len(command) < 7 or command[:2] != SHELL or command[3:5] != RUNS_SOURCE or EXECUTOR not in command[5]:
        return None
    installs = INSTALL.findall(command[2])
    kfp, requirements, options = "", [], []
    for text in installs:
        try:
            words = shlex.split(text.replace('"$0" "$@"', ""))
        except ValueError:
            return None
        found = _arguments(words)
        if found is None:
            return None
        wanted, more = found
        if any(_name(each) == "kfp" for each in wanted):
            kfp = next(each for each in wanted if _name(each) == "kfp")
            wanted = [each for each in wanted if _name(each) not in {"kfp", "typing-extensions"}]
        requirements += wanted
        options += more
    if not kfp or len(command) != 7:
        return None
    return PythonComponent(command[6], kfp, tuple(dict.fromkeys(requirements)), tuple(dict.fromkeys(options)))


def _arguments(words: list[str]) -> tuple[list[str], list[str]] | None:
    """Return the requirements and the options that say where packages are; None when there is anything else."""
    wanted: list[str] = []
    places: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in SWITCHES:
            continue
        if name in {"--index-url", "--extra-index-url", "--find-links", "--trusted-host"}:
            value = value if equals else next(rest, "")
            places += [] if name == "--trusted-host" else [name, value]
        elif word.startswith("-") or _name(word) is None:
            return None
        else:
            wanted.append(word)
    return wanted, places


def _name(text: str) -> str | None:
    try:
        return Requirement(text).name
    except InvalidRequirement:
        return None
