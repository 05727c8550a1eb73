"""Setting a repository up for its target: DVC's remote, the bucket and the shared state.

Everything looks at what is there first and does only what is missing, so it can be run again at any time.
"""

from __future__ import annotations

from pathlib import Path

from edge_tasks import dvc, storage
from edge_tasks.cloud import Cloud, dvc_remote_override
from edge_tasks.config import EdgeConfig
from edge_tasks.progress import Progress
from edge_tasks.store import StateStore

REMOTE = "store"


def set_up(root: Path, config: EdgeConfig, cloud: Cloud, progress: Progress) -> None:
    """Bring the repository at `root` and its `cloud` to where training can begin."""
    set_up_dvc(root, config, progress)
    if storage.bucket_exists(cloud):
        progress.step(f"the bucket gs://{cloud.bucket_name} is there")
    else:
        storage.create_bucket(cloud)
        progress.step(f"made the bucket gs://{cloud.bucket_name}")
    made = StateStore(cloud).create()
    progress.step("made the shared state" if made else "the shared state is there")


def set_up_dvc(root: Path, config: EdgeConfig, progress: Progress) -> None:
    """Initialise DVC if need be and point its remote at the bucket, and at this machine with target `local`."""
    if not (root / ".dvc").is_dir():
        arguments = ["init", "--quiet"] if (root / ".git").exists() else ["init", "--quiet", "--no-scm"]
        dvc.run(root, *arguments, doing="initialise DVC")
        progress.step("initialised DVC")
    bucket = config.storage_bucket
    url = f"gs://{bucket.bucket_name}/{bucket.dvc_store_directory}"
    shared, private = root / ".dvc" / "config", root / ".dvc" / "config.local"
    if dvc.remote_url(shared, REMOTE) != url:
        dvc.run(root, "remote", "add", "--force", "--default", REMOTE, url, doing="set DVC's remote")
        progress.step(f"set DVC's remote to {url}")
    else:
        progress.step(f"DVC's remote is {url}")
    override = dvc_remote_override(config)
    # DVC writes a relative path as seen from its own folder. An absolute one would not survive a move of the
    # repository, and DVC fails to write one with letters beyond ASCII.
    if dvc.remote_url(private, REMOTE) == (f"../{override}" if override else None):
        return
    if override is None:
        dvc.run(root, "config", "--local", "--unset", f"remote.{REMOTE}.url", doing="lead DVC to the bucket")
        progress.step("DVC uses the bucket from now on")
    else:
        dvc.run(root, "remote", "add", "--local", "--force", REMOTE, override, doing="lead DVC to this machine")
        progress.step(f"DVC keeps data on this machine, in {override}")
