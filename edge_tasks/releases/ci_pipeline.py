"""Continuous delivery: what CI does with all models of a repository, one after the other.

Training what changed, recording it in git, and releasing in two steps: a part of the requests first, then all of them.
Each step looks at what is there, so that a pipeline can be run again from anywhere.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_tasks.cloud import endpoints
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.pipeline_plan import REPORT_STAGE
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.state import ModelState
from edge_tasks.errors import CloudError, GitError
from edge_tasks.releases import lineage, operations
from edge_tasks.releases.plan import Release
from edge_tasks.repo import layout, payloads
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.repo.trained_model import find_trained_model, load_trained_model
from edge_tasks.tools import dvc, git

# Somebody else may push between our fetch and our push, but hardly so many times.
_PUSH_TRIES = 5

# What the stage REPORT_STAGE writes.
_REPORT = "report.md"

# What the commit of a training's results says; the mark keeps CI from starting again.
_RECORD = "Record what was trained [skip ci]"


def train(root: Path, config: EdgeConfig, progress: Progress) -> None:
    """Train, as `dvc repro` does, every model that changed or was last trained for another target; push the results.

    Data and models that DVC's remote has are fetched when they are needed. An imported model, which no stage trains,
    stays.
    """
    elsewhere = {}
    for name in config.models:
        folder = layout.model_folder(root, name)
        path = folder / TRAINED_MODEL_FILE
        trained = find_trained_model(folder, name)
        if trained is not None and trained.target != config.target and path in dvc.stage_outputs(folder):
            elsewhere[path] = path.read_bytes()
            progress.step(f"`{name}` was trained for the target `{trained.target}`, and is trained again")
    with _missing(elsewhere):
        dvc.stream(root, "repro", "--pull", doing="train")
    dvc.stream(root, "push", doing="push data and models")
    progress.step("trained what changed, and pushed data and models")


def train_again(root: Path, name: str, progress: Progress) -> None:
    """Train a model though nothing changed, with every stage of its pipeline: the one that gets data gets new ones."""
    pipeline = layout.model_folder(root, name).relative_to(root) / "dvc.yaml"
    dvc.stream(root, "repro", "--pull", "--force", str(pipeline), doing="train", EDGE_FORCE="1")
    if dvc.has_stage(root, REPORT_STAGE):
        dvc.stream(root, "repro", "--single-item", REPORT_STAGE, doing="write the report")
    dvc.stream(root, "push", doing="push data and models")
    progress.step(f"trained `{name}` again, and pushed data and models")


@contextlib.contextmanager
def _missing(files: dict[Path, bytes]) -> Iterator[None]:
    """Take `files` away, which is DVC's own reason to run the stages that write them; put them back if that fails."""
    for path in files:
        path.unlink()
    try:
        yield
    finally:
        for path, content in files.items():
            if not path.exists():
                write_atomically(path, content)


def record(root: Path, branch: str, progress: Progress) -> bool:
    """Commit what the training left, and push it to `branch` of `origin`.

    False when there is nothing to commit. When others have pushed meanwhile, the commit is put on top of theirs.
    Results of an earlier commit's training, recorded after ours had begun, give way to ours.
    """
    git.run(root, "add", "--all", "--", *_results(root), doing="add the results")
    if git.attempt(root, "diff", "--cached", "--quiet").returncode == 0:
        progress.step("nothing was trained: there is nothing to commit")
        return False
    git.run(root, *git.author(root), "commit", "--quiet", "--message", _RECORD, doing="commit the results")
    _push(root, branch)
    progress.step(f"committed the results to `{branch}`")
    return True


def _results(root: Path) -> list[str]:
    """Return what DVC and a training write and git keeps."""
    files = (root / "dvc.lock", layout.model_folders(root), root / _REPORT)
    return [path.name for path in files if path.exists()]


def _push(root: Path, branch: str) -> None:
    """Push HEAD to `branch` of `origin`, on top of what others have pushed there meanwhile."""
    for _ in range(_PUSH_TRIES):
        pushed = git.attempt(root, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        if pushed.returncode == 0:
            return
        git.run(root, "fetch", "--quiet", "origin", branch, doing=f"fetch `{branch}`")
        if git.attempt(root, "merge-base", "--is-ancestor", "FETCH_HEAD", "HEAD").returncode == 0:
            raise GitError(
                f"cannot push to `{branch}`: {git.words(pushed)}",
                "let CI write to the repository: invoke ci.setup --dry-run tells how",
            )
        _put_on_top(root, branch)
    raise GitError(f"cannot push to `{branch}`: others pushed {_PUSH_TRIES} times meanwhile", "run it again")


def _put_on_top(root: Path, branch: str) -> None:
    """Put the commit of the results on top of FETCH_HEAD. What a training left changed besides stays as it is."""
    arguments = (*git.author(root), "rebase", "--quiet", "--autostash")
    put = git.attempt(root, *arguments, "FETCH_HEAD")
    if put.returncode == 0:
        return
    crossed = bool(git.unmerged(root))
    git.attempt(root, "rebase", "--abort")
    if not crossed:
        raise GitError(f"cannot put the results on top of `{branch}`: {git.words(put)}", "git status")
    if not _only_records(root):
        raise GitError(
            f"somebody else changed the same results on `{branch}` meanwhile",
            "the pipeline of the newer commit trains what is right: this one need not be run again",
        )
    # Ours are the results of what people have written last, and go whole: files of two trainings are never mixed.
    ours = git.run(root, "rev-parse", "HEAD", doing="find the results").strip()
    files = git.run(root, "diff", "--name-only", "-z", "HEAD^", "HEAD", doing="list the results").split("\0")
    git.run(root, "reset", "--quiet", "--keep", "FETCH_HEAD", doing=f"go to `{branch}`")
    named = [f":(top,literal){name}" for name in files if name]
    restore = ("restore", f"--source={ours}", "--staged", "--worktree", "--", *named)
    git.run(root, *restore, doing="take the results")
    git.run(root, *git.author(root), "commit", "--quiet", "--message", _RECORD, doing="commit the results")


def _only_records(root: Path) -> bool:
    """Say whether all that was pushed since the commit that was trained are results of other trainings."""
    pushed = git.run(root, "log", "--format=%s", "HEAD^..FETCH_HEAD", doing="list what was pushed")
    return set(pushed.splitlines()) == {_RECORD}


def deploy(wanted: Iterable[Release], traffic: int, *, allow_dirty: bool = False) -> None:
    """Give every newly trained model `traffic` percent of its requests; one that is not deployed yet gets them all.

    Raises TrainingError, before anything is deployed, when one was trained with changes that were not committed, unless
    `allow_dirty` is set. A release that somebody approves after a later one leaves what that deployed.
    """
    found = [(release, load_trained_model(release.folder, release.name)) for release in wanted]
    if not allow_dirty:
        for _, trained in found:
            lineage.refuse_dirty(trained)
    for release, trained in found:
        deployed = _state(release.cloud, release.name).deployed
        if deployed is not None and deployed.origin.run_id == trained.run_id:
            release.progress.step(f"`{release.name}` version {deployed.version} serves already")
            continue
        if _is_overtaken(release):
            continue
        if deployed is not None and traffic < 100 and release.settings.scale_to_zero is not None:
            # All of the requests before a person has approved would be too many.
            release.progress.step(
                f"`{release.name}` scales to zero, so there is room for one version: the new one waits for ci.promote"
            )
            continue
        share = traffic if deployed is not None else 100
        outcome = operations.deploy(release, share)
        release.progress.step(f"`{release.name}` version {outcome.version} gets {share} % of the requests")


def smoke_test(cloud: Cloud, config: EdgeConfig, root: Path, progress: Progress, requests: int) -> None:
    """Post the model's test_payload.json `requests` times to every model that serves; every answer must be one.

    Raises CloudError at the first that is none.
    """
    for name in config.models:
        state = _state(cloud, name)
        if state.deployed is None or state.endpoint is None:
            raise CloudError(f"the model `{name}` is not deployed", f"invoke model.deploy --name {name}")
        payload = payloads.read_payload(layout.model_folder(root, name) / payloads.FILE_NAME)
        answers: Counter[str] = Counter()
        for _ in range(requests):
            answer = endpoints.predict(cloud, state.endpoint, payload)
            if not answer.get("predictions"):
                raise CloudError(f"`{name}` answered without predictions", f"invoke model.predict --name {name}")
            answers[str(answer.get("modelVersionId", "?"))] += 1
        versions = ", ".join(f"{count} from version {version}" for version, count in sorted(answers.items()))
        progress.step(f"`{name}` answered {requests} request{'s' if requests > 1 else ''}: {versions}")


def promote(wanted: Iterable[Release]) -> None:
    """Give every version that has a part of the requests all of them.

    Of a model that scales to zero, which can have no such version, the newly trained one is deployed.
    """
    there = list(wanted)
    for release in there:
        if not _waits(release) or _is_overtaken(release):
            continue
        outcome = operations.deploy(release)
        release.progress.step(f"`{release.name}` version {outcome.version} serves all the requests")
    for release in _with_candidate(one for one in there if one.settings.scale_to_zero is None):
        outcome = operations.promote(release)
        release.progress.step(f"`{release.name}` version {outcome.version} serves all the requests")


def cancel(wanted: Iterable[Release]) -> None:
    """Take off every version that has a part of the requests; what served before has them all again."""
    for release in _with_candidate(wanted):
        outcome = operations.rollback(release)
        release.progress.step(f"`{release.name}` version {outcome.version} serves all the requests again")


def _waits(release: Release) -> bool:
    """Say whether a new version of a model that scales to zero has not been deployed, because it could get no part."""
    if release.settings.scale_to_zero is None:
        return False
    deployed = _state(release.cloud, release.name).deployed
    trained = find_trained_model(release.folder, release.name)
    return deployed is not None and trained is not None and deployed.origin.run_id != trained.run_id


def _is_overtaken(release: Release) -> bool:
    """Say whether what is on the endpoint was trained from a later commit than this release's, and tell."""
    state = _state(release.cloud, release.name)
    for there in filter(None, (state.candidate, state.deployed)):
        if there.commit is not None and git.is_before(release.root, there.commit):
            release.progress.step(
                f"`{release.name}` version {there.version}, of a later commit, is deployed already, and stays; "
                f"to go back: invoke model.rollback --name {release.name}"
            )
            return True
    return False


def _with_candidate(wanted: Iterable[Release]) -> Iterator[Release]:
    """Yield the releases whose own version has a part of the requests, not that of another pipeline."""
    for release in wanted:
        candidate = _state(release.cloud, release.name).candidate
        trained = find_trained_model(release.folder, release.name)
        if candidate is None:
            release.progress.step(f"`{release.name}` has no new version")
        elif trained is not None and candidate.run_id != trained.run_id:
            release.progress.step(f"`{release.name}` version {candidate.version} is another release's, and stays")
        else:
            yield release


def _state(cloud: Cloud, name: str) -> ModelState:
    return StateStore(cloud).load().model(name)
