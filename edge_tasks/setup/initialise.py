"""Setting a repository up for its target: edge.yaml, Google Cloud, the bucket, DVC's remote and the shared state.

The world is read first, which gives a list of repairs; they are told, or carried out one after the other. So it can be
run again at any time, and continues where it failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge_tasks.cloud import gcloud, storage
from edge_tasks.cloud.client import Cloud, connect, dvc_remote_override, on_google_cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import ConfigError
from edge_tasks.repo import edge_yaml, layout
from edge_tasks.setup import google_cloud, template
from edge_tasks.setup.checks import Check, Finding, Repair
from edge_tasks.setup.terraform import is_managed
from edge_tasks.tools import dvc

REMOTE = "store"

# What edge.yaml holds when cookiecutter was not told a project.
TEMPLATE_PROJECT = "my-gcp-project"


@dataclass(frozen=True)
class Plan:
    """What was found, in words, and what is to be done about it."""

    facts: tuple[str, ...]
    repairs: tuple[Repair, ...]

    @property
    def asks(self) -> bool:
        """Whether the user is to be asked before it is carried out."""
        return any(repair.asks for repair in self.repairs)

    def carry_out(self, progress: Progress) -> None:
        """Do everything, in order."""
        for repair in self.repairs:
            progress.step(repair.text)
            repair.do()


def plan(root: Path, config: EdgeConfig, settings: Mapping[str, str]) -> Plan:
    """Read the world; return what brings the repository at `root` to where training can begin.

    `config` is edge.yaml as it will be with `settings` (by dotted key). Raises EdgeError at the first thing that is
    broken and cannot be repaired from here.
    """
    template.check_finished(root)
    facts: list[str] = []
    repairs: list[Repair] = []
    for check in _checks(root, config, settings):
        finding = check.look()
        repairs += finding.repairs
        if not finding.repairs:
            facts.append(f"{check.name}: {finding.fact}" + (f"; {finding.advice}" if finding.advice else ""))
    return Plan(tuple(facts), tuple(repairs))


def suggestions(before: EdgeConfig, now: EdgeConfig) -> dict[str, str]:
    """Return what to suggest for project, region and bucket (by key in edge.yaml) to somebody who is asked for them.

    `before` is edge.yaml as it is, `now` with what was answered already.
    """
    old, new = before.google_cloud_project.project_id, now.google_cloud_project.project_id
    # The template names the bucket after the project.
    bucket = now.storage_bucket.bucket_name
    bucket = new + bucket.removeprefix(old) if bucket.startswith(old) else bucket
    project = gcloud.configured_project() if new == TEMPLATE_PROJECT else None
    return {
        "google_cloud_project.project_id": project or new,
        "google_cloud_project.region": now.google_cloud_project.region,
        "storage_bucket.bucket_name": bucket[:63],
    }


def _checks(root: Path, config: EdgeConfig, settings: Mapping[str, str]) -> list[Check]:
    reach = cache(lambda: connect(config, root))
    if on_google_cloud(config):
        place = google_cloud.checks(config, reach, by_terraform=is_managed(root))
    else:
        place = [Check(google_cloud.BUCKET, lambda: check_bucket(reach()))]
    return [
        *place,
        Check("edge.yaml", lambda: _settings(root, config, settings)),
        Check("DVC", lambda: check_dvc(root, config, config if "target" in settings else None)),
        Check("state", lambda: _state(reach())),
    ]


def set_up_dvc(root: Path, config: EdgeConfig, progress: Progress, *, as_committed: bool = False) -> None:
    """Initialise DVC if need be and point its remote at the bucket, and at this machine with target `local`.

    With `as_committed` raise ConfigError when that changes .dvc/config: of what is trained then no commit would tell.
    """
    file = root / ".dvc" / "config"
    before = file.read_bytes() if file.exists() else None
    finding = check_dvc(root, config)
    if not finding.repairs:
        progress.step(f"DVC: {finding.fact}")
    Plan((), finding.repairs).carry_out(progress)
    if as_committed and file.read_bytes() != before:
        raise ConfigError(
            "`.dvc/config`, as it is committed, does not lead where edge.yaml says",
            "invoke init, then git commit edge.yaml .dvc/config",
        )


def check_bucket(cloud: Cloud) -> Finding:
    """Look whether the bucket is there."""
    name = cloud.bucket_name
    if storage.bucket_exists(cloud):
        return Finding(f"gs://{name} is there")
    repair = Repair(f"make the bucket gs://{name}", lambda: storage.create_bucket(cloud))
    return Finding(f"gs://{name} does not exist", (repair,))


def _settings(root: Path, config: EdgeConfig, settings: Mapping[str, str]) -> Finding:
    fact = f"target {config.target}, models: {', '.join(config.models) or 'none'}"
    if not settings:
        return Finding(fact)
    values = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return Finding(fact, (Repair(f"write into edge.yaml: {values}", lambda: edge_yaml.set_values(root, settings)),))


def check_dvc(root: Path, config: EdgeConfig, written: EdgeConfig | None = None) -> Finding:
    """Look at DVC's own settings: is it initialised, where is its remote.

    The committed remote is that of edge.yaml as everybody has it, or as it is to be `written`: so DVC works in a clone
    before anything else was typed. EDGE_TARGET leads DVC elsewhere on this machine only.
    """
    repairs = []
    if not (root / ".dvc").is_dir():
        arguments = ["init", "--quiet"] if (root / ".git").exists() else ["init", "--quiet", "--no-scm"]
        repairs.append(_dvc_repair(root, "initialise DVC", *arguments))
    bucket = layout.dvc_remote(config)
    folder = dvc_remote_override(written or edge_yaml.load_config(root, {}))
    committed = dvc.remote_url(root / ".dvc" / "config", REMOTE)
    # Earlier templates committed the bucket's address for both targets, which is as good.
    if committed != bucket and not (folder and committed == _as_dvc_writes(folder)):
        place = folder or bucket
        committed = _as_dvc_writes(folder) if folder else bucket
        repairs.append(_dvc_repair(root, f"set DVC's remote to {place}", "remote", "add", "-f", "-d", REMOTE, place))
    override = dvc_remote_override(config)
    wanted = _as_dvc_writes(override) if override else bucket
    here = dvc.remote_url(root / ".dvc" / "config.local", REMOTE)
    if wanted == committed and here is not None:
        text = "let DVC keep data where the repository says, no longer elsewhere on this machine"
        repairs.append(_dvc_repair(root, text, "config", "--local", "--unset", f"remote.{REMOTE}.url"))
    elif wanted not in (committed, here):
        where = f"on this machine, in {override}" if override else f"in {bucket}"
        arguments = ["remote", "add", "--local", "--force", REMOTE, override or bucket]
        repairs.append(_dvc_repair(root, f"let DVC keep data {where}", *arguments))
    return Finding(f"remote {override or bucket}", tuple(repairs))


def _as_dvc_writes(folder: str) -> str:
    """Return `folder`, relative to the root, as DVC writes it: as seen from its own folder.

    An absolute one would not survive a move of the repository, and DVC fails to write one with letters beyond ASCII.
    """
    return f"../{folder}"


def _dvc_repair(root: Path, text: str, *arguments: str) -> Repair:
    def do() -> None:
        dvc.run(root, *arguments, doing=text)

    return Repair(text, do)


def _state(cloud: Cloud) -> Finding:
    store = StateStore(cloud)

    def create() -> None:
        store.create()

    if store.exists():
        return Finding("the shared state is there")
    return Finding("there is no shared state", (Repair("make the shared state", create),))
