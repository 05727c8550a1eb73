"""The image of a predictor: written as a folder that can be looked at, and built once for each content.

It is built where images are pulled from, on Google Cloud; the emulator runs the same program without one. Building on
Google Cloud is not tried yet.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

import edge_tasks
from edge_tasks.cloud import image_builds, storage
from edge_tasks.cloud.client import Cloud, on_google_cloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.model_formats import REQUIREMENTS_FILE
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.serving_choice import PREDICTOR, ArtifactFacts, Serving
from edge_tasks.domain.serving_dockerfile import SERVER_REQUIREMENTS, SERVER_REQUIREMENTS_FILE, dockerfile
from edge_tasks.errors import CloudError, TrainingError
from edge_tasks.repo import layout

# The modules of this package that are in the image.
_DOMAIN = ("__init__", "model_formats", "signature")


def contents(artifact: ArtifactFacts) -> dict[str, bytes]:
    """Return the files that an image is built from, by name. Raises TrainingError when the libraries are not known."""
    if artifact.requirements is None:
        raise TrainingError(
            f"the artifact has no {REQUIREMENTS_FILE}, so its libraries are not known",
            f"save it with save_results, or put a {REQUIREMENTS_FILE} with all versions next to it",
        )
    package = Path(edge_tasks.__file__).parent
    files = {
        "Dockerfile": dockerfile(artifact).encode(),
        REQUIREMENTS_FILE: artifact.requirements.encode(),
        SERVER_REQUIREMENTS_FILE: "".join(f"{line}\n" for line in SERVER_REQUIREMENTS).encode(),
        "edge_tasks/__init__.py": (package / "__init__.py").read_bytes(),
    }
    for name in _DOMAIN:
        files[f"edge_tasks/domain/{name}.py"] = (package / "domain" / f"{name}.py").read_bytes()
    for path in sorted((package / "serving").glob("*.py")):
        files[f"edge_tasks/serving/{path.name}"] = path.read_bytes()
    return files


def write(artifact: ArtifactFacts, folder: Path) -> None:
    """Write the files that an image is built from into `folder`: `docker build FOLDER` builds it."""
    for name, content in contents(artifact).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ensure(
    cloud: Cloud, config: EdgeConfig, name: str, serving: Serving, artifact: ArtifactFacts, progress: Progress
) -> None:
    """Build the image that serves the model `name` unless it is there already; other images are not ours to build."""
    uri = serving.container.image
    if serving.kind != PREDICTOR or not on_google_cloud(config) or image_builds.has_image(cloud, uri):
        return
    files = contents(artifact)
    image_builds.ensure_repository(cloud, uri)
    if config.models[name].serving_builder == "docker":
        progress.step(f"building {uri} with Docker")
        with tempfile.TemporaryDirectory(prefix="edge-image-") as folder:
            write(artifact, Path(folder))
            for command in (
                ["docker", "build", "--platform", "linux/amd64", "--tag", uri, folder],
                ["docker", "push", uri],
            ):
                _run(command)
        return
    progress.step(f"building {uri} with Cloud Build: some minutes, once for these libraries")
    tag = image_builds.ImageName.of(uri).tag
    source = storage.upload(cloud, archive(files), layout.image_source(config, tag))
    image_builds.build(cloud, uri, source, on_wait=lambda elapsed: progress.waiting("waiting for the image", elapsed))


def archive(files: dict[str, bytes]) -> bytes:
    """Return files as a .tar.gz: the same content gives the same bytes."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CloudError(f"`{command[0]}` cannot be run: {error.strerror}", "serving_builder: cloud-build") from None
    if done.returncode:
        lines = "\n".join(f"  | {line}" for line in done.stderr.strip().splitlines()[-15:])
        raise CloudError(f"`{' '.join(command[:2])}` ended with {done.returncode}\n{lines}")
