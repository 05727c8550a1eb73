"""What a new repository's requirements.txt asks for, to get the vertex:edge that made it.

The template's files put it in by the filter `requirement`. It is decided here alone: PUBLISHED is the one switch.

cookiecutter imports this file where nothing else of this project may be installed.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from jinja2 import Environment
from jinja2.ext import Extension

# Whether an index of packages has vertex-edge in the version that `_template_version` names.
PUBLISHED = False

PACKAGE = "vertex-edge[local]"

# cookiecutter works in other folders while it renders, and names the template's as seen from the first one.
STARTED_IN = Path.cwd()

_URL = re.compile(r"(?:(?:git|hg)\+)?(?:https?|file|ssh)://|[\w.-]+@[\w.-]+:")
_SCP_ADDRESS = re.compile(r"(?P<user>[\w.-]+@)?(?P<host>[\w.-]+):(?P<path>(?!//).+)")


def requirement(answers: Mapping[str, str]) -> str:
    """Return the line of requirements.txt. `answers` is cookiecutter's context: questions, and what it adds."""
    if answers.get("_requirement"):
        return answers["_requirement"]
    plain = f"{PACKAGE}=={answers['_template_version']}"
    if PUBLISHED:
        return plain
    named = answers["_template"]
    folder = (STARTED_IN / answers["_repo_dir"]).resolve()
    # Of a template that lies on this machine cookiecutter names the folder as it was named to it.
    local = answers["_repo_dir"] == named
    address = _folder(folder) if local else _clone(folder) or _archive(named)
    return f"{PACKAGE} @ {address}" if address else plain


def newest(line: str) -> str:
    """Return the requirement `line` without its commit or version: what to give `pip install --upgrade`."""
    return re.sub(r"(@[0-9a-f]{40}|==[^ ]+)$", "", line)


def of_this_machine(line: str) -> bool:
    """Return whether no other machine can install `line`."""
    return " @ file:" in line or " @ git+file:" in line


def without_credentials(url: str) -> str:
    """Return the address of a git repository as pip takes it, without a password or token in it."""
    address = _SCP_ADDRESS.fullmatch(url)
    if address and "://" not in url:
        return f"git+ssh://{address['user'] or ''}{address['host']}/{address['path'].lstrip('/')}"
    if url.startswith("/"):
        return f"git+{Path(url).as_uri()}"
    scheme, host, path, _, _ = urlsplit(url.removeprefix("git+"))
    user, at, name = host.rpartition("@")
    keeps_user = scheme == "ssh" and at
    return "git+" + urlunsplit((scheme, f"{user.partition(':')[0]}@{name}" if keeps_user else name, path, "", ""))


@functools.lru_cache
def _clone(folder: Path) -> str | None:
    """Return where the clone `folder` came from, with its commit; None when it is no clone."""
    url = _git(folder, "remote", "get-url", "origin")
    commit = _git(folder, "rev-parse", "HEAD")
    return f"{without_credentials(url)}@{commit}" if url and commit else None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _archive(template: str) -> str | None:
    """Return the address of the archive that the template was taken from."""
    return template if _URL.match(template) and template.endswith(".zip") else None


def _folder(folder: Path) -> str | None:
    """Return the address of the checkout `folder`, or of what the package was installed from that it is a part of."""
    if (folder / "pyproject.toml").is_file():
        return folder.as_uri()
    # site-packages/edge_tasks/_template
    for record in folder.parent.parent.glob("vertex_edge-*.dist-info/direct_url.json"):
        document = json.loads(record.read_text(encoding="utf-8"))
        version_control = document.get("vcs_info")
        if version_control:
            return f"{version_control['vcs']}+{document['url']}@{version_control['commit_id']}"
        return str(document["url"])
    return None


class Requirement(Extension):
    """Gives Jinja the filters `requirement` and `newest`, and the test `of_this_machine`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["requirement"] = requirement
        environment.filters["newest"] = newest
        environment.tests["of_this_machine"] = of_this_machine
