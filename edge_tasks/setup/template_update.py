"""Bringing a newer template's changes into a repository that an older one made, as a three-way merge by git.

The merge's base is what the older template gave, untouched. It is a commit in the repository's own history, known by
two trailers: the template's version, and the tree that the commit must have (a squashed commit repeats the words, but
not the tree). Where history does not hold it, it is rendered again from the older template. What the newer template
gives becomes a commit on top of the base, and git merges that on a branch: the user's changes and the template's meet
as two people's would, and the next update finds its base in history.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from edge_tasks import __version__
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import EdgeError, GitError
from edge_tasks.setup import template
from edge_tasks.tools import git

# Written by the template into every repository.
ANSWERS_FILE = ".edge-template.json"

_VERSION, _TREE = "Edge-Template", "Edge-Template-Tree"
_WHEEL_FOLDER = "edge_tasks/_template/"
_A_VERSION = re.compile(r"\d+(\.\d+)+[a-z0-9.]*")

# Seconds.
_RENDER_LIMIT = 120.0
_DOWNLOAD_LIMIT = 120.0


class UpdateError(EdgeError):
    """A repository cannot be brought up to date, or not without its user."""


@dataclass(frozen=True)
class Update:
    """An update that was merged: from which version to which, and on which branch. None: there was nothing to do."""

    before: str
    after: str
    branch: str | None


def update(root: Path, progress: Progress, to: str | None = None, base: str | None = None) -> Update:
    """Merge the template `to` (default: the installed package's) into a new branch of the repository at `root`.

    `to` and `base` are each a folder that holds a cookiecutter.json, a wheel of vertex-edge, or a version, which pip
    fetches. `base` is the template that made the repository, for a history that does not hold what it gave. Raises
    UpdateError, with the branch checked out and the places marked, when both sides changed the same lines; any other
    error leaves everything as it was.
    """
    recorded = _recorded(root)
    if to is None and Version(recorded["template_version"]) > Version(__version__):
        raise UpdateError(
            f"the repository has version {recorded['template_version']} of the template, newer than the installed "
            f"vertex-edge {__version__}",
            "git pull, then pip install -r requirements.txt",
        )
    if git.run(root, "status", "--porcelain", "--untracked-files=no", doing="look for changes").strip():
        raise UpdateError("there are changes that are not committed", "git commit or git stash, then try again")
    with tempfile.TemporaryDirectory(prefix="edge-template-") as temporary:
        renderer = _Renderer(root, recorded["answers"], Path(temporary))
        old = _in_history(root)
        if old is None:
            source = base or (str(template.root()) if recorded["template_version"] == __version__ else None)
            if source is None:
                raise _no_base(str(recorded["template_version"]))
            old = renderer.commit(source)
            progress.step(f"rendered the template's version {recorded['template_version']} again, to merge from")
        new = renderer.commit(to or str(template.root()), parent=old)
    before, after = _version(root, old), _version(root, new)
    if _tree(root, old) == _tree(root, new):
        return Update(before, after, None)
    branch = f"edge-template-{after}"
    _merge(root, branch, old, new, f"Bring in version {after} of the vertex:edge template")
    return Update(before, after, branch)


def _no_base(version: str) -> UpdateError:
    return UpdateError(
        f"git's history does not hold what version {version} of the template gave",
        f"have pip fetch it: invoke template.update --base {version}",
    )


def _recorded(root: Path) -> dict[str, Any]:
    path = root / ANSWERS_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            "template_version": str(Version(document["template_version"])),
            "answers": {str(question): str(answer) for question, answer in document["answers"].items()},
        }
    except FileNotFoundError:
        problem = f"there is no `{ANSWERS_FILE}`: the repository does not say what it was made from"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        problem = f"`{ANSWERS_FILE}` is broken"
    raise UpdateError(problem, f"git checkout HEAD -- {ANSWERS_FILE}, or write it as a new repository has it")


def _in_history(root: Path) -> str | None:
    """Return the newest commit in history that holds what a template gave, and nothing else."""
    form = f"--format=%H %T %(trailers:key={_TREE},valueonly,separator=%x20)"
    # By ancestry, not by the clock: two updates may fall into one second, and clocks are put back.
    search = ("log", "--topo-order", f"--grep=^{_TREE}: ", form, "HEAD")
    log = git.run(root, *search, doing="search git's history")
    for line in log.splitlines():
        commit, tree, *named = line.split()
        if named == [tree]:
            return commit
    return None


def _version(root: Path, commit: str) -> str:
    form = f"--format=%(trailers:key={_VERSION},valueonly)"
    return git.run(root, "log", "-1", form, commit, doing="read the template's version").strip()


def _tree(root: Path, commit: str) -> str:
    return git.run(root, "rev-parse", f"{commit}^{{tree}}", doing="read a commit").strip()


@dataclass(frozen=True)
class _Renderer:
    """Makes commits of what templates give for one repository's answers. None of them is on a branch."""

    root: Path
    answers: dict[str, str]
    folder: Path

    def commit(self, source: str, parent: str | None = None) -> str:
        """Return a commit, in the repository, of what the template `source` gives."""
        made = self._render(self._found(source))
        version = _recorded(made)["template_version"]
        git.run(self.root, "fetch", "--quiet", "--no-tags", str(made), "HEAD", doing="take over what the template gave")
        tree = self._placed(_tree(self.root, "FETCH_HEAD"))
        message = f"vertex:edge template {version}\n\n{_VERSION}: {version}\n{_TREE}: {tree}\n"
        parents = ("-p", parent) if parent else ()
        command = (*git.author(self.root), "commit-tree", tree, *parents, "-m", message)
        return git.run(self.root, *command, doing="commit what the template gave").strip()

    def _found(self, source: str) -> Path:
        """Return the folder of the template `source`: a folder, a wheel, or a version."""
        path = Path(source)
        if (path / "cookiecutter.json").is_file():
            return path.resolve()
        if path.suffix == ".whl" and path.is_file():
            return self._unzipped(path)
        if _A_VERSION.fullmatch(source) and not path.exists():
            return self._unzipped(self._downloaded(source))
        raise UpdateError(
            f"`{source}` is not a template of vertex:edge",
            "name a checkout of vertex-edge, a wheel of it, or a version",
        )

    def _downloaded(self, version: str) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise UpdateError(
                "pip is not installed in this environment, so it cannot fetch a version",
                f"python -m ensurepip, or name a checkout or a wheel of version {version}",
            )
        target = Path(tempfile.mkdtemp(dir=self.folder))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
        command += ["--only-binary", ":all:", "--dest", str(target), f"vertex-edge=={version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_LIMIT)
        except subprocess.TimeoutExpired:
            raise UpdateError(f"pip gave no answer for {_DOWNLOAD_LIMIT:.0f} s", "try again") from None
        wheels = list(target.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            raise UpdateError(
                f"pip cannot fetch version {version} of vertex-edge: {said[-1] if said else 'it failed'}",
                f"pip index versions vertex-edge, or name a checkout of version {version}",
            )
        return wheels[0]

    def _unzipped(self, wheel: Path) -> Path:
        target = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                for entry in archive.infolist():
                    if entry.filename.startswith(_WHEEL_FOLDER):
                        path = Path(archive.extract(entry, target))
                        path.chmod((entry.external_attr >> 16) & 0o777 or 0o644)
        except zipfile.BadZipFile:
            raise UpdateError(f"`{wheel}` is not a wheel", "pip download --no-deps vertex-edge") from None
        return self._found(str(target / _WHEEL_FOLDER))

    def _render(self, source: Path) -> Path:
        """Return a new repository, with one commit, that the template made of the answers."""
        output = Path(tempfile.mkdtemp(dir=self.folder))
        config = output / "cookiecutter.yaml"
        config.write_text(json.dumps({"replay_dir": str(output / "replay"), "cookiecutters_dir": str(output)}))
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(config)]
        command += ["--output-dir", str(output / "made"), str(source)]
        command += [f"{question}={answer}" for question, answer in self.answers.items()]
        try:
            # Started in the repository, Python would take a folder `hooks` of the user's for the template's.
            done = subprocess.run(
                command, cwd=output, capture_output=True, text=True, check=False, timeout=_RENDER_LIMIT
            )
        except subprocess.TimeoutExpired:
            raise UpdateError(f"rendering the template took more than {_RENDER_LIMIT:.0f} s", "try again") from None
        made = list((output / "made").glob("*/.git"))
        if done.returncode != 0 or len(made) != 1:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            reason = next((line.removeprefix("error: ") for line in said if line.startswith("error: ")), *said[-1:])
            raise UpdateError(
                f"the template does not take the answers of `{ANSWERS_FILE}`: {reason}", f"fix `{ANSWERS_FILE}`"
            )
        return made[0].parent

    def _placed(self, tree: str) -> str:
        """Return `tree` below the folder that the repository has within git's, which is usually git's own."""
        prefix = git.run(self.root, "rev-parse", "--show-prefix", doing="find the repository's folder").strip()
        for name in reversed(prefix.strip("/").split("/") if prefix else []):
            command = [*("git", "-C", str(self.root), "mktree")]
            done = subprocess.run(
                command, input=f"040000 tree {tree}\t{name}\n", capture_output=True, text=True, check=True
            )
            tree = done.stdout.strip()
        return tree


def _merge(root: Path, branch: str, old: str, new: str, message: str) -> None:
    if git.resolve(root, f"refs/heads/{branch}"):
        raise UpdateError(f"there is a branch `{branch}` already", f"git branch -D {branch}, or look at what it holds")
    git.run(root, "switch", "--quiet", "--create", branch, doing=f"make the branch `{branch}`")
    try:
        conflicts = _merged(root, old, new, message)
    except BaseException:
        git.attempt(root, "merge", "--abort")
        git.attempt(root, "switch", "--quiet", "-")
        git.attempt(root, "branch", "-D", branch)
        raise
    if conflicts:
        names = ", ".join(f"`{name}`" for name in conflicts)
        raise UpdateError(
            f"both you and the template changed the same lines: {names}",
            f"you are on the branch `{branch}`: fix the marked places, then git add them and git commit; "
            "to go back: git merge --abort && git switch -",
        )


def _merged(root: Path, old: str, new: str, message: str) -> list[str]:
    """Merge `new`, whose parent is `old`, into the current branch; return the files that are left in conflict."""
    merge = (*git.author(root), "merge", "--quiet", "--no-ff")
    if git.attempt(root, "merge-base", "--is-ancestor", old, "HEAD").returncode != 0:
        unrelated = ("--strategy", "ours", "--allow-unrelated-histories", "-m", "Note what the template had given")
        git.run(root, *merge, *unrelated, old, doing="note what the template had given")
    done = git.attempt(root, *merge, "-m", message, new)
    conflicts = git.run(root, "diff", "--name-only", "--diff-filter=U", doing="look for conflicts").splitlines()
    if done.returncode != 0 and not conflicts:
        raise GitError(f"git cannot merge: {git.words(done)}", "move that out of the way, then try again")
    return conflicts
