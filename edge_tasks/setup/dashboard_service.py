"""The dashboard on Cloud Run, behind IAM: its image, its account, and the commands that bring it about.

The image holds edge.yaml, this package without what only a checkout needs, and the libraries of the environment that
deploys it, in the same versions. Cloud Run lets in who has roles/run.invoker on the service, and nobody else.
https://cloud.google.com/run/docs/authenticating/developers. Not tried on Google Cloud yet; the image's program is.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import edge_tasks
from edge_tasks.cloud import gcloud, hosted_dashboard, image_builds, storage
from edge_tasks.cloud.client import Cloud, on_google_cloud
from edge_tasks.cloud.hosted_dashboard import HostedDashboard
from edge_tasks.domain import infrastructure
from edge_tasks.domain.config import FILE_NAME, EdgeConfig
from edge_tasks.domain.infrastructure import Place, Resource, ServiceAccount
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.runs import utc_now
from edge_tasks.domain.serving_choice import IMAGE_REPOSITORY
from edge_tasks.errors import EdgeError
from edge_tasks.readiness.distributions import brought_by, installed
from edge_tasks.releases.serving_image import archive
from edge_tasks.repo import layout
from edge_tasks.setup import gcloud_commands
from edge_tasks.setup.ci_federation import place_of
from edge_tasks.setup.gcloud_commands import Step
from edge_tasks.tools import user

IMAGE_NAME = "dashboard"

# What the page's server imports of this package's dependencies.
REQUIREMENTS = (
    *("google-cloud-aiplatform", "google-cloud-storage", "packaging", "protobuf", "pydantic", "pyyaml", "requests"),
    "ruamel.yaml",
)
# The parts of this package that are in the image; `tests/test_dashboard_service.py` runs it with no others.
PARTS = (
    *("cloud", "console.py", "dashboard", "domain", "errors.py", "experiments", "explanations.py", "jobs", "models"),
    *("monitoring", "readiness", "redaction.py", "releases", "repo", "serving", "tools", "tracking", "__init__.py"),
)

# https://cloud.google.com/iam/docs/principal-identifiers
_MEMBER = re.compile(r"(user|group|serviceAccount|domain):[^\s:@]*@?[^\s:@]+\.[^\s:@]+|principal(Set)?://\S+")

# One instance answers all: each keeps what it has read, and a page asks for what has changed since.
_SETTINGS = (
    *("--no-allow-unauthenticated", "--ingress", "all", "--port", "8080"),
    *("--memory", "1Gi", "--cpu", "1", "--cpu-boost", "--min-instances", "0", "--max-instances", "1"),
    *("--concurrency", "80", "--timeout", "300"),
)

_DOCKERFILE = """\
# Written by `invoke dashboard.deploy`. Who may open the page is for Cloud Run to say, by roles/run.invoker.
FROM mirror.gcr.io/library/python:{python}-slim
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app HOME=/tmp PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 EDGE_TARGET=gcp
WORKDIR /app
COPY requirements.txt ./
RUN pip install -r requirements.txt
COPY edge.yaml ./
COPY edge_tasks edge_tasks
RUN python -m compileall -q edge_tasks
USER 1000
EXPOSE 8080
ENTRYPOINT ["python", "-m", "edge_tasks.dashboard"]
"""


def ground(
    config: EdgeConfig, place: Place, *, changes: bool = False, request_logs: bool = False
) -> Sequence[Resource]:
    """Return what the dashboard stands on: APIs, the place for its image, and its account with its roles."""
    key = layout.dashboard_key(config.storage_bucket.bucket_name)
    records = config.experiments.directory
    return infrastructure.dashboard(place, key, records, changes=changes, request_logs=request_logs)


def check_members(members: Iterable[str]) -> list[str]:
    """Return the members, each once. Raises EdgeError for what Google would refuse, and for everybody."""
    found = list(dict.fromkeys(one.strip() for text in members for one in text.split(",") if one.strip()))
    for one in found:
        if one in ("allUsers", "allAuthenticatedUsers"):
            raise EdgeError(
                f"`{one}` would show every run to the whole world", "name people: --member user:ada@example.com"
            )
        if not _MEMBER.fullmatch(one):
            raise EdgeError(
                f"`{one}` is not a member",
                "such as --member user:ada@example.com, group:team@example.com or domain:example.com",
            )
    return found


def contents(root: Path) -> dict[str, bytes]:
    """Return the files that the image is built from, by name."""
    package = Path(edge_tasks.__file__).parent
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    files = {
        "Dockerfile": _DOCKERFILE.format(python=python).encode(),
        "requirements.txt": "".join(f"{line}\n" for line in pinned()).encode(),
        FILE_NAME: (root / FILE_NAME).read_bytes(),
    }
    for path in _sources(package):
        files[f"edge_tasks/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    return files


def _sources(package: Path) -> Iterator[Path]:
    for part in PARTS:
        path = package / part
        for found in [path] if path.is_file() else sorted(path.rglob("*")):
            if found.is_file() and "__pycache__" not in found.parts:
                yield found


def pinned() -> list[str]:
    """Return the libraries of the image, with the versions that are installed here, and all that they require."""
    names = sorted(name for name in brought_by(REQUIREMENTS) if "[" not in name)
    found = {name: installed(name) for name in names}
    return [f"{name}=={version}" for name, version in found.items() if version]


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write the files into `folder`: `docker build FOLDER` builds the image."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def service_name(config: EdgeConfig) -> str:
    """Return the name of the service on Cloud Run, which is the account's id, too."""
    return f"edge-dashboard-{layout.dashboard_key(config.storage_bucket.bucket_name)}"


def image_uri(config: EdgeConfig, files: dict[str, bytes]) -> str:
    """Return the address of the image; its tag is a hash over what is in it."""
    place = place_of(config)
    digest = hashlib.sha256(archive(files)).hexdigest()[:16]
    return f"{place.region}-docker.pkg.dev/{place.project_id}/{IMAGE_REPOSITORY}/{IMAGE_NAME}:{digest}"


def account(config: EdgeConfig) -> ServiceAccount:
    """Return the account that the dashboard runs as."""
    return next(one for one in ground(config, place_of(config)) if isinstance(one, ServiceAccount))


def preparing(config: EdgeConfig, *, changes: bool, request_logs: bool, by_terraform: bool) -> list[Step]:
    """Return what makes the ground, in order; with `by_terraform` what its export does not make: changes alone."""
    place = place_of(config)
    plan = ground(config, place, changes=changes, request_logs=request_logs)
    if by_terraform:
        there = set(ground(config, place, request_logs=request_logs))
        plan = [one for one in plan if one not in there]
    return gcloud_commands.steps(infrastructure.together(plan), place.project_id)


def deploying(config: EdgeConfig, uri: str, members: Iterable[str], *, changes: bool) -> list[Step]:
    """Return what starts the service with its image, and lets the members in."""
    place, name = place_of(config), service_name(config)
    where = ("--region", place.region, "--project", place.project_id)
    run = ("gcloud", "run", "deploy", name, "--image", uri, *where, "--service-account", account(config).email)
    variables = ("--set-env-vars", f"EDGE_DASHBOARD_CHANGES={'yes' if changes else 'no'}")
    labels = ("--labels", f"{layout.BUCKET_LABEL}={layout.label_value(place.bucket_name)}")
    found = [Step(f"start {name}", (*run, *_SETTINGS, *variables, *labels, "--quiet"))]
    bind = ("gcloud", "run", "services", "add-iam-policy-binding", name, *where, "--role", "roles/run.invoker")
    return found + [Step(f"let {member} in", (*bind, "--member", member, "--quiet")) for member in members]


def script(
    config: EdgeConfig, files: dict[str, bytes], folder: str, steps: Sequence[Step], rest: Sequence[Step]
) -> str:
    """Return a shell script that does all: what `--dry-run` prints. `folder` is where the image's files are."""
    import shlex

    uri, place = image_uri(config, files), place_of(config)
    build = (
        "gcloud",
        "builds",
        "submit",
        folder,
        "--tag",
        uri,
        "--region",
        place.region,
        "--project",
        place.project_id,
    )
    writes = Step(
        f"write what the image is built from into {folder}/", ("invoke", "dashboard.deploy", "--output", folder)
    )
    lines = []
    for step in (*steps, writes, Step("build the image", build), *rest):
        lines += [f"# {step.purpose}", shlex.join(step.command), ""]
    return "\n".join(lines).rstrip()


def deploy(
    cloud: Cloud,
    config: EdgeConfig,
    root: Path,
    files: dict[str, bytes],
    steps: Sequence[Step],
    rest: Sequence[Step],
    progress: Progress,
    *,
    by_terraform: bool,
) -> HostedDashboard:
    """Make the ground, build the image unless it is there, start the service; each may be done again without harm."""
    check_target(config)
    uri, place = image_uri(config, files), place_of(config)
    hosted = HostedDashboard(
        service=service_name(config),
        project=place.project_id,
        region=place.region,
        image=uri,
        account="" if by_terraform else account(config).email,
        at=utc_now().isoformat(timespec="seconds"),
        by=user.user_name(),
    )
    hosted_dashboard.note(cloud, hosted)
    _carry_out(steps, root, progress)
    if not image_builds.has_image(cloud, uri):
        progress.step(f"building {uri} with Cloud Build: some minutes")
        tag = image_builds.ImageName.of(uri).tag
        source = storage.upload(cloud, archive(files), layout.image_source(config, f"{IMAGE_NAME}-{tag}"))
        image_builds.build(
            cloud, uri, source, on_wait=lambda elapsed: progress.waiting("waiting for the image", elapsed)
        )
    _carry_out(rest, root, progress)
    return hosted


def check_target(config: EdgeConfig) -> None:
    """Raise EdgeError unless the target is Google Cloud."""
    if not on_google_cloud(config):
        raise EdgeError(
            "Cloud Run is on Google Cloud, and the target is local",
            "invoke dashboard shows it on this machine; invoke init --target gcp, or EDGE_TARGET=gcp",
        )


def deployed(cloud: Cloud) -> HostedDashboard | None:
    """Return the dashboard that is on Cloud Run; None when none was deployed."""
    return hosted_dashboard.find(cloud)


def removing(hosted: HostedDashboard) -> list[Step]:
    """Return what takes it away, in order."""
    return [Step(*each) for each in hosted_dashboard.removal(hosted)]


def undeploy(cloud: Cloud, hosted: HostedDashboard) -> None:
    """Take the service and its account away, as far as they are there."""
    hosted_dashboard.remove(cloud, hosted)


def proxy_command(hosted: HostedDashboard) -> str:
    """Return the command by which somebody who was let in opens the page."""
    return f"gcloud run services proxy {hosted.service} {' '.join(hosted.place)} --port 8766"


def _carry_out(steps: Sequence[Step], root: Path, progress: Progress) -> None:
    for step in steps:
        if step.look and gcloud.exists(step.look, doing=step.purpose, folder=root):
            progress.step(f"done already: {step.purpose}")
            continue
        progress.step(step.purpose)
        gcloud.text(step.command, doing=step.purpose, limit=gcloud.ENABLE_LIMIT, folder=root)
