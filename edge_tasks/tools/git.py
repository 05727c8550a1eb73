"""git: what it knows of the repository, and the few things that we have it do.

A repository without git, or a machine without it, is not an error where only a question is asked.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_tasks.domain.provenance import Commit
from edge_tasks.errors import GitError

# Seconds. Fetching and pushing go over a network, the rest is done at once.
_LIMIT = 30.0
_NETWORK_LIMIT = 300.0

# For commits where git has been told no name, as in CI.
_AUTHOR = {"user.name": "vertex-edge", "user.email": "vertex-edge@localhost"}


def head(root: Path, besides: Sequence[Path] = ()) -> Commit | None:
    """Return the commit checked out at `root`, or None without git, without a repository or before a first commit.

    Changes of the files and folders `besides` do not make it dirty.
    """
    sha = resolve(root, "HEAD")
    if not sha:
        return None
    excluded = [f":(exclude,literal){path.relative_to(root)}" for path in besides if path.is_relative_to(root)]
    status = _ask(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded)
    return Commit(sha=sha, dirty=bool(status and status.strip()))


def resolve(root: Path, revision: str) -> str | None:
    """Return the commit that `revision` names, or None when there is none."""
    sha = _ask(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return sha.strip() if sha else None


def commits_ahead(root: Path, revision: str) -> int:
    """Return how many commits `revision` has that HEAD has not; 0 when a shallow clone cannot tell."""
    if _ask(root, "merge-base", "HEAD", revision) is None:
        return 0
    return int(_ask(root, "rev-list", "--count", f"HEAD..{revision}") or 0)


def is_before(root: Path, revision: str) -> bool:
    """Say whether `revision` is a later commit, made on top of HEAD; False when this clone does not know it."""
    if resolve(root, revision) in (None, resolve(root, "HEAD")):
        return False
    return _ask(root, "merge-base", "--is-ancestor", "HEAD", revision) is not None


def is_repository(root: Path) -> bool:
    """Say whether `root` is in a git repository, as far as git is there to tell."""
    return _ask(root, "rev-parse", "--git-dir") is not None


def unmerged(root: Path) -> list[str]:
    """Return the files, from `root`, of which git still has both sides of a merge or a rebase."""
    found = _ask(root, "diff", "--name-only", "--relative", "--diff-filter=U", "-z")
    return sorted(set(filter(None, (found or "").split("\0"))))


def taken(root: Path, paths: Sequence[Path]) -> list[Path]:
    """Return those of `paths` of which git keeps something, or would with the next `git add .`; none without git."""
    inside = [path for path in paths if path.is_relative_to(root)]
    if not inside:
        return []
    patterns = [f":(literal){path.relative_to(root).as_posix()}" for path in inside]
    found = _ask(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns)
    files = [root / name for name in (found or "").split("\0") if name]
    return [path for path in inside if any(file.is_relative_to(path) for file in files)]


def remote_url(root: Path) -> str | None:
    """Return the address of the remote `origin`, or None when there is none."""
    url = _ask(root, "remote", "get-url", "origin")
    return url.strip() if url else None


def fetch_tip(root: Path, branch: str, reference: str) -> None:
    """Fetch the last commit of the branch from `origin` as `reference`, if there is such a remote and branch."""
    _ask(root, "fetch", "--quiet", "--depth", "1", "origin", f"+refs/heads/{branch}:{reference}", limit=_NETWORK_LIMIT)


def add_worktree(root: Path, sha: str, folder: Path) -> Path:
    """Check out the commit into `folder`, next to what is checked out at `root`; return the repository's part of it.

    What lies there is removed. Raises GitError with git's own words.
    """
    remove_worktree(root, folder)
    run(root, "worktree", "add", "--quiet", "--detach", str(folder), sha, doing=f"check out {sha}")
    # The repository may be a part of a larger one.
    return folder / (_ask(root, "rev-parse", "--show-prefix") or "").strip()


def remove_worktree(root: Path, folder: Path) -> None:
    """Remove what `add_worktree` made, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
    _ask(root, "worktree", "prune")


def author(root: Path) -> list[str]:
    """Return the options that give git a name for a commit, if it has none."""
    unset = (key for key in _AUTHOR if not _ask(root, "config", "--get", key))
    return [word for key in unset for word in ("-c", f"{key}={_AUTHOR[key]}")]


def run(root: Path, *arguments: str, doing: str, hint: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run `git ARGUMENTS` in `root` and return its output. Raises GitError with git's own words."""
    done = attempt(root, *arguments, env=env)
    if done.returncode != 0:
        raise GitError(f"cannot {doing}: {words(done)}", hint or f"git {shlex.join(arguments)}")
    return done.stdout


def words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line in which git says why it failed."""
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    for mark in ("fatal: ", "error: ", "remote: "):
        for line in lines:
            if line.startswith(mark):
                return line.removeprefix(mark).strip()
    return lines[-1].strip() if lines else "it failed"


def attempt(
    root: Path, *arguments: str, env: Mapping[str, str] | None = None, limit: float = _NETWORK_LIMIT
) -> subprocess.CompletedProcess[str]:
    """Run `git ARGUMENTS` in `root` whatever comes of it. Raises GitError only when git is not there or hangs."""
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            # Nobody is there to answer: git must fail instead of asking for a password.
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except OSError:
        raise GitError("git is not installed", "install git") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} gave no answer for {limit:.0f} s", "try again") from None


def _ask(root: Path, *arguments: str, limit: float = _LIMIT) -> str | None:
    """Return what git answers, or None for whatever reason it does not."""
    try:
        done = attempt(root, *arguments, limit=limit)
    except GitError:
        return None
    return done.stdout if done.returncode == 0 else None
