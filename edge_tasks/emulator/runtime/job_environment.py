"""The folder and the environment variables of a job.

The variables of Vertex AI: https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.projects import project_id
from edge_tasks.emulator.runtime import job_programs
from edge_tasks.emulator.runtime.cluster import PRIMARY, Replica
from edge_tasks.emulator.runtime.watchers import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_tasks.emulator.runtime.environments import Environment
    from edge_tasks.emulator.runtime.image_contents import Contents

SUPPORT = Path(__file__).parent / "job_support"
# What every job finds: `python -m pip`; and what the prebuilt training images hold.
PROGRAMS, LIBRARIES = SUPPORT / "programs", SUPPORT / "libraries"
# A Unix socket's path has 107 bytes at most; multiprocessing calls one `pymp-12345678/listener-12345678`.
_LONGEST_TMPDIR = 107 - 40
CLIENT_HOOK = Path(__file__).parents[1] / "sdk_patch"


@dataclass(frozen=True)
class Servers:
    """Where a job finds the emulator."""

    vertex_url: str
    storage_url: str
    grpc_address: str = ""


@dataclass(frozen=True)
class JobFolder:
    """The folders of one job; they vanish when it ends, what lies next to them stays."""

    path: Path

    @property
    def log(self) -> Path:
        """The job's log."""
        return self.path / "log.jsonl"

    @property
    def metrics(self) -> Path:
        """What a trial of a hyperparameter tuning job has reported, written by cloudml-hypertune."""
        return self.path / "output.metrics"

    @property
    def site(self) -> Path:
        """Unpacked packages; first on the job's PYTHONPATH."""
        return self.path / "site"

    @property
    def bin(self) -> Path:
        """Programs that come first on the job's PATH."""
        return self.path / "bin"

    @property
    def gcs(self) -> Path:
        """What the job reads and writes below /gcs."""
        return self.path / "gcs"

    @property
    def root(self) -> Path:
        """Where a job's own root is put together, which has a /gcs."""
        return self.path / "root"

    def of_replica(self, replica: Replica) -> JobFolder:
        """Return the folders of a replica: the primary one has those of the job itself."""
        return self if replica == PRIMARY else JobFolder(self.path / "replicas" / replica.name)

    @property
    def work(self) -> Path:
        """The job's working directory."""
        return self.path / "work"

    @property
    def installed_later(self) -> Path:
        """What pip has installed while a Python of the job runs, for that one."""
        return self.path / "later"

    def create(self, isolated: bool = False) -> None:
        """Make the folders and the programs in `bin`."""
        for name in ("site", "bin", "gcs", "root", "work", "home", "tmp", "packages", "later"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        job_programs.write(self.bin, self.site, self._isolation if isolated else None)

    def isolate(self, environment: Environment, contents: Contents, vertex_url: str) -> None:
        """Let the job run in an environment, to which its pip adds; the emulator at `vertex_url` makes it."""
        job_programs.use(self.bin, environment.folder)
        self._isolation.write_text(
            json.dumps({"url": vertex_url, "later": str(self.installed_later), **contents._asdict()})
        )

    @property
    def _isolation(self) -> Path:
        return self.path / "isolation.json"

    def clear(self) -> None:
        """Remove the folders of an ended job; its log stays."""
        if not self.path.is_dir():
            return
        for replica in (self.path / "replicas").glob("*"):
            JobFolder(replica).clear()
        link = self.path / "link"
        if link.is_file():
            shutil.rmtree(link.read_text(), ignore_errors=True)
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def link_gcs(self) -> Path:
        """Return a path to `gcs` that needs no quotes in a shell, for a data folder whose own path does."""
        return self._linked("gcs")

    @property
    def temporary(self) -> Path:
        """The folder for temporary files, by a path that leaves room for the name of a socket in it."""
        own = self.path / "tmp"
        return own if len(os.fsencode(own)) <= _LONGEST_TMPDIR else self._linked("tmp")

    def _linked(self, name: str) -> Path:
        """Return a short path to the folder `name`; it vanishes with the job."""
        note = self.path / "link"
        if not note.is_file():
            note.write_text(tempfile.mkdtemp(prefix="vertex-emulator-"))
        link = Path(note.read_text()) / name
        if not link.is_symlink():
            link.symlink_to(self.path / name)
        return link


def variables(
    *,
    servers: Servers,
    project: str,
    location: str,
    job_id: str,
    trial_id: str,
    base_output: str,
    job_spec: dict[str, Any],
) -> dict[str, str]:
    """Return what Vertex AI and the emulator tell a job, wherever it runs."""
    host = servers.vertex_url.removeprefix("http://")
    environment = {
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": location,
        "CLOUD_ML_JOB_ID": job_id,
        # Not Vertex AI's: how unmodified clients find the emulator from inside the job.
        "VERTEX_EMULATOR_URL": servers.vertex_url,
        "VERTEX_EMULATOR_GRPC": servers.grpc_address,
        "STORAGE_EMULATOR_HOST": servers.storage_url,
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        # gcloud and gsutil: https://cloud.google.com/sdk/docs/properties#setting_properties_via_environment_variables
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{servers.vertex_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{servers.vertex_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{servers.storage_url}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": project_id(project),
    }
    if trial_id:
        environment["CLOUD_ML_TRIAL_ID"] = trial_id
    if base_output:
        base = base_output.rstrip("/")
        environment |= {
            "AIP_MODEL_DIR": f"{base}/model/",
            "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
        }
    if job_spec.get("experiment"):
        environment["AIP_EXPERIMENT_NAME"] = job_spec["experiment"]
        environment["AIP_EXPERIMENT_RUN_NAME"] = job_spec.get("experimentRun", "")
    return environment


def local_environment(
    folder: JobFolder, given: Mapping[str, str], spec_env: Iterable[Any], contents: Contents | None = None
) -> dict[str, str]:
    """Return all variables of a job that is a process of this machine; with `contents` it is isolated."""
    environment = clean_environment()
    own = str(Path(sys.executable).parent)
    system_path = environment.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    path = [path for path in system_path if path != own] if contents else [own, *system_path]
    environment |= {
        "PATH": ":".join([str(folder.bin), *path]),
        "HOME": str(folder.path / "home"),
        "TMPDIR": str(folder.temporary),
        "PYTHONUNBUFFERED": "1",
        "VERTEX_EMULATOR_PIP": str(folder.bin / "pip"),
        "CLOUD_ML_HP_METRIC_FILE": str(folder.metrics),
        **given,
    }
    add_variables(environment, spec_env)
    # A plain image of Python has no libraries: a job that needs one there requires it.
    support = [PROGRAMS, LIBRARIES] if contents is None or contents.prebuilt else [PROGRAMS]
    later = [folder.installed_later] if contents else []
    paths = [*map(str, [folder.site, *later, *support, CLIENT_HOOK]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = ":".join(path for path in paths if path)
    return environment


def add_variables(environment: dict[str, str], spec_env: Iterable[Any]) -> None:
    """Add the variables that a spec asks for; each may name those before it."""
    for variable in spec_env:
        environment[variable.name] = expand(variable.value, environment)


def expand(text: str, environment: dict[str, str]) -> str:
    """Replace `$(NAME)` by a variable's value, as in containers; `$$(NAME)` stays `$(NAME)`."""
    return re.sub(
        r"\$\$(?=\()|\$\(([A-Za-z_][\w.]*)\)",
        lambda match: "$" if match.group(1) is None else environment.get(match.group(1), match.group(0)),
        text,
    )
