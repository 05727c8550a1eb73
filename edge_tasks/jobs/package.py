"""The two source distributions that travel to a job: the submitting edge_tasks, and the model's folder.

They are written without setuptools (which the submitter may not have) and without timestamps, so that the same content
gives the same bytes. pip builds them where the job runs.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

import edge_tasks
from edge_tasks.domain.config import FILE_NAME as CONFIG_FILE
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import MODEL_PACKAGE, PIPELINE_FILE, SPEC_FILE, TrainingSpec
from edge_tasks.errors import TrainingError
from edge_tasks.repo.requirements_txt import requirement_lines
from edge_tasks.tools import dvc

# What a training imports of this package's dependencies; the rest (DVC, the Vertex AI SDK, ...) stays at home.
TRAINING_REQUIREMENTS = (
    "google-cloud-storage>=2.19,<4",
    "packaging>=23",
    "pydantic>=2.8,<3",
    "pyyaml>=6",
    "ruamel.yaml>=0.18,<0.20",
    "sacred>=0.8.7,<0.9",
    "setuptools<82",
)

# What a job needs in addition to show its run elsewhere, too.
_VERTEX_REQUIREMENT, _MONGO_REQUIREMENT = "google-cloud-aiplatform>=2.7,<3", "pymongo>=4.2,<5"

# Those modules of edge_tasks that a training imports inside a job, and no others: what is here stands in the job's
# fingerprint, so that a change of it is another training. `tests/test_architecture.py` holds the list to the imports.
_TRAVELS = {
    "": "errors redaction",
    "domain": "baseline config distributions groups imports job_spec json_values model_formats names period "
    "pipeline_order provenance run_filter runs signature state yaml_errors",
    "repo": "edge_yaml files glance layout payloads results text_files trained_model",
    "serving": "distributions inputs model_files own_code pickle_scan predictor steps trial",
    "tools": "process signals user",
    "cloud": "bucket client object_lock run_store secret_manager state_store storage vertex_experiments vertex_sdk",
    "tracking": "backend event_log outbox output_capture sacred_observer system_metrics uploader uploader_process",
    "tracking/sinks": "background mongo vertex",
    "training": "artifact baseline context data describe environment failure hypertune job pipeline_task replica "
    "results run_options sklearn stage_outputs travelled wrapper",
}

# The parts of this package that put a model into the registry.
_REGISTERS = (
    *("cloud", "domain", "jobs", "pipelines", "readiness", "releases", "repo", "serving", "tools", "tracking"),
    "training",
)

# Outputs of a training, and what is about the model but not for its training.
_NOT_SENT = (
    *("model", "plots", "metrics.json", "trained_model.json", "dvc.lock", "dvc.yaml", "tune.yaml", "README.md"),
    *("test_payload.json", "test_train.py"),
)

# Folders at the root that hold something else than code for all models, though they may be packages.
_NOT_SHARED = frozenset({"data", "models", "services", "src", "test", "tests"})

# Names of files that often hold secrets. Hidden files, such as .env, never travel.
_SECRETS = ("*.key", "*.pem", "*.p12", "*.pfx", "*.env", "*credentials*.json", "*service-account*.json", "id_rsa*")

_SETUP_PY = """\
from setuptools import setup

setup(
    name={name!r},
    version={version!r},
    packages={packages!r},
    package_data={package_data!r},
    install_requires={requirements!r},
)
"""


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model's folder that travel with a job, and those that do not though they might be expected to."""

    sent: Sequence[Path]
    secrets: Sequence[Path]
    data: Sequence[Path]


def model_files(root: Path, model_folder: Path) -> ModelFiles:
    """Return which files of a model's folder travel: all but outputs, caches, hidden files, secrets and DVC's data."""
    tracked = dvc.tracked_paths(root)
    sent, secrets, data = [], [], []
    for path in sorted(_all_files(model_folder)):
        parts = path.relative_to(model_folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not path.is_file() or parts[0] in _NOT_SENT or path.suffix == ".dvc":
            continue
        if path.name != ".env" and hidden:
            continue
        if any(fnmatch(path.name.lower(), pattern) for pattern in _SECRETS):
            secrets.append(path)
        elif tracked & {path, *path.parents}:
            data.append(path)
        else:
            sent.append(path)
    return ModelFiles(sent, secrets, data)


def _all_files(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, also in folders that links lead to, but in none twice on one way."""
    on_the_way: dict[str, set[str]] = {str(folder): {os.path.realpath(folder)}}
    for place, folders, names in os.walk(folder, followlinks=True):
        above = on_the_way.pop(place)
        kept = [name for name in folders if os.path.realpath(Path(place, name)) not in above]
        folders[:] = kept
        for name in kept:
            path = str(Path(place, name))
            on_the_way[path] = above | {os.path.realpath(path)}
        yield from (Path(place, name) for name in names)


def shared_files(root: Path) -> list[Path]:
    """Return the repository's code that every model may import: what is in `src`, and packages at the root."""
    packages = [path.parent for path in root.glob("*/__init__.py") if path.parent.name not in _NOT_SHARED]
    found = []
    for path in sorted({path for folder in (root / "src", *packages) for path in _all_files(folder) if path.is_file()}):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in parts)
        if not hidden and not any(fnmatch(path.name.lower(), pattern) for pattern in _SECRETS):
            found.append(path)
    return found


def named_files(root: Path, paths: Iterable[str]) -> list[Path]:
    """Return the files at `paths` (from the root; of folders, all in them), but for hidden ones and secrets."""
    found = []
    for place in (root / path for path in paths):
        inside = sorted(_all_files(place)) if place.is_dir() else [place] if place.is_file() else []
        for path in inside:
            parts = path.relative_to(root).parts
            hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
            if not hidden and not any(fnmatch(path.name.lower(), pattern) for pattern in _SECRETS):
                found.append(path)
    return found


@dataclass(frozen=True)
class Contents:
    """What two jobs have in common that run the same code: everything but their orders."""

    own: Mapping[str, bytes]
    model: Mapping[str, bytes]
    requirements: Sequence[str]

    def fingerprint(self, **more: Any) -> str:
        """Return one hash (32 hex digits) over the code, its requirements and `more`, which is plain JSON.

        params.yaml and edge.yaml are not code: what they say about a training is to be a part of `more`.
        """
        code = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in {**self.own, **self.model}.items()
            if not name.endswith(("/params.yaml", f"/files/{CONFIG_FILE}"))
        }
        text = json.dumps({"code": code, "requirements": list(self.requirements), **more}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def packages(self, spec: TrainingSpec) -> dict[str, bytes]:
        """Return the source distributions of a job: file name to content."""
        return self._packages({f"{MODEL_PACKAGE}/{SPEC_FILE}": spec.to_json().encode()})

    def pipeline_packages(self, order: str) -> dict[str, bytes]:
        """Return the source distributions of a pipeline's tasks, which do what `order` says: file name to content."""
        return self._packages({f"{MODEL_PACKAGE}/{PIPELINE_FILE}": order.encode()})

    def _packages(self, orders: Mapping[str, bytes]) -> dict[str, bytes]:
        version = edge_tasks.__version__
        own = _sdist("vertex_edge", version, self.own, TRAINING_REQUIREMENTS)
        model = _sdist(MODEL_PACKAGE, "0", {**self.model, **orders}, self.requirements)
        return {f"vertex_edge-{version}.tar.gz": own, f"{MODEL_PACKAGE}-0.tar.gz": model}


def read_contents(root: Path, files: ModelFiles, requirements: Sequence[str] = ()) -> Contents:
    """Read what travels with a job; `requirements` are the model's, on top of ROOT/requirements.txt."""
    model = {
        f"{MODEL_PACKAGE}/__init__.py": b"",
        f"{MODEL_PACKAGE}/files/{CONFIG_FILE}": (root / CONFIG_FILE).read_bytes(),
    }
    for path in (*files.sent, *shared_files(root)):
        model[f"{MODEL_PACKAGE}/files/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return Contents(
        own=dict(_own_files()),
        model=model,
        requirements=(*repository_requirements(root / "requirements.txt"), *requirements),
    )


def registering_contents(root: Path) -> Contents:
    """Return what travels with the task that puts a model into the registry: all of this package that does it."""
    package = Path(edge_tasks.__file__).parent
    modules = sorted(path for part in _REGISTERS for path in (package / part).rglob("*.py"))
    own = [*(path for path in package.glob("*.py") if path.stem in ("__init__", "errors", "redaction")), *modules]
    own += [package / "console.py", package / "explanations.py"]
    return Contents(
        own={f"edge_tasks/{path.relative_to(package).as_posix()}": path.read_bytes() for path in own},
        model={
            f"{MODEL_PACKAGE}/__init__.py": b"",
            f"{MODEL_PACKAGE}/files/{CONFIG_FILE}": (root / CONFIG_FILE).read_bytes(),
        },
        requirements=(_VERTEX_REQUIREMENT,),
    )


def mirror_requirements(config: EdgeConfig) -> list[str]:
    """Return what a job has to install because edge.yaml wants its run to be shown elsewhere, too."""
    wanted = [_VERTEX_REQUIREMENT] if config.experiments.vertex_experiment else []
    return [*wanted, _MONGO_REQUIREMENT] if config.experiments.mongo_uri_secret else wanted


def travelling_modules() -> list[str]:
    """Return the files of this package that travel with a job, relative to it."""
    return [
        (PurePosixPath(folder) / f"{module}.py").as_posix()
        for folder, modules in _TRAVELS.items()
        for module in ("__init__", *modules.split())
    ]


def _own_files() -> Iterator[tuple[str, bytes]]:
    package = Path(edge_tasks.__file__).parent
    for name in travelling_modules():
        yield f"edge_tasks/{name}", (package / name).read_bytes()


def repository_requirements(path: Path) -> tuple[str, ...]:
    """Return what the repository's requirements.txt asks for, less this package itself, which travels as source."""
    requirements = []
    for number, text in requirement_lines(path):
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise TrainingError(f"`{path.name}`, line {number}: {text}: {error}", f"fix `{path}`") from None
        if re.sub(r"[-_.]+", "-", requirement.name).lower() != "vertex-edge":
            requirements.append(text)
    return tuple(requirements)


def _sdist(name: str, version: str, files: Mapping[str, bytes], requirements: Sequence[str]) -> bytes:
    """Return a source distribution as its bytes.

    https://packaging.python.org/specifications/source-distribution-format/
    """
    package = next(iter(files)).partition("/")[0]
    packages = [package, *sorted(_inner_packages(package, files))]
    package_data = {package: [file.partition("/")[2] for file in files]}
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requirements]
    setup_py = _SETUP_PY.format(
        name=name,
        version=version,
        packages=packages,
        package_data=package_data,
        requirements=list(requirements),
    )
    content = {"PKG-INFO": "\n".join(metadata).encode() + b"\n", "setup.py": setup_py.encode(), **files}
    archive = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=archive, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for file, data in content.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()


def _inner_packages(package: str, files: Mapping[str, bytes]) -> set[str]:
    """Return the dotted names of the packages below `package`; folders of a model's files are data, not packages."""
    folders = {Path(file).parent for file in files if file.endswith("/__init__.py")}
    return {".".join(folder.parts) for folder in folders if len(folder.parts) > 1 and folder.parts[1] != "files"}
