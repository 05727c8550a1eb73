"""Where this template comes from, as what pip installs: the first line of a new repository's requirements.txt.

What made a repository is known when it is made, and so its next steps can name it:

- a clone of a git host, as `cookiecutter gh:...` makes one: that commit of that repository;
- a checkout on this machine whose commit the git host has, too: the same; otherwise the checkout's folder;
- the package of pip, which carries this template: what pip was told to install.

Once versions are published on an index, the version is all that is needed: PUBLISHED is the one switch.

cookiecutter imports this file where nothing else of this project may be installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path

PACKAGE, EXTRA = "vertex-edge", "[local]"
# cookiecutter works in other folders while it renders, and names the template's as seen from the first one.
STARTED_IN = Path.cwd()
PUBLISHED = False
# git@github.com:owner/name.git, as git abbreviates ssh://git@github.com/owner/name.git.
_SCP = re.compile(r"(?P<host>[\w.-]+@[\w.-]+):(?P<path>(?!//).+)")
_REMOTE = re.compile(r"(https|ssh|git)://")


def requirement(version: str, template: str | Path) -> str:
    """Return the requirement for the package that belongs to the template in the folder `template`."""
    if PUBLISHED:
        return f"{PACKAGE}{EXTRA}=={version}"
    root = (STARTED_IN / template).resolve()
    is_checkout = (root / "pyproject.toml").is_file()
    place = (_commit(root) or root.as_uri()) if is_checkout else _installed(version)
    return f"{PACKAGE}{EXTRA} @ {place}" if place else f"{PACKAGE}{EXTRA}=={version}"


def _commit(root: Path) -> str:
    """Return the address of a checkout's commit at its git host; empty if others cannot have just this one."""
    if not (root / ".git").exists():
        return ""
    commit, url = _git(root, "rev-parse", "HEAD"), _git(root, "config", "--get", "remote.origin.url")
    abbreviated = _SCP.fullmatch(url)
    if abbreviated and "://" not in url:
        url = f"ssh://{abbreviated['host']}/{abbreviated['path']}"
    # A password in the address would be committed.
    url = re.sub(r"^(https://)[^/@]*@", r"\1", url)
    is_known = _git(root, "branch", "--remotes", "--contains", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    if not commit or not is_known or changed or not (_REMOTE.match(url) or url.startswith("file://")):
        return ""
    return f"git+{url}@{commit}"


def _installed(version: str) -> str:
    """Return what pip was told to install; empty when that was a version from an index, or is another version.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
        told = json.loads(package.read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
    if package.version != version:
        return ""
    url, vcs = str(told.get("url", "")), told.get("vcs_info")
    return f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}" if vcs else url


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
