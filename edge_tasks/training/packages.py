"""The two source distributions that travel to a job: the submitting edge_tasks, and the model's folder.

They are written without setuptools (which the submitter may not have) and without timestamps, so that the same content
gives the same bytes. pip builds them where the job runs.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

import edge_tasks
from edge_tasks.config import FILE_NAME as CONFIG_FILE
from edge_tasks.errors import TrainingError
from edge_tasks.training.context import MODEL_PACKAGE, ORDER_FILE, Order

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

# Parts of edge_tasks that no job needs.
_STAY_HOME = ("tasks", "emulator", "_template", "main.py")

# Outputs of a training, and what nobody wants to send.
_NOT_SENT = ("model", "plots", "metrics.json", "trained_model.json", "dvc.lock", "__pycache__")

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


def build_packages(root: Path, model_folder: Path, order: Order) -> dict[str, bytes]:
    """Return the source distributions of a job: file name to content."""
    version = edge_tasks.__version__
    own = _sdist("vertex_edge", version, dict(_own_files()), TRAINING_REQUIREMENTS)
    model = _sdist(
        MODEL_PACKAGE,
        "0",
        dict(_model_files(root, model_folder, order)),
        _model_requirements(root / "requirements.txt"),
    )
    return {f"vertex_edge-{version}.tar.gz": own, f"{MODEL_PACKAGE}-0.tar.gz": model}


def _own_files() -> Iterator[tuple[str, bytes]]:
    package = Path(edge_tasks.__file__).parent
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        if relative.parts[0] not in _STAY_HOME:
            yield f"edge_tasks/{relative.as_posix()}", path.read_bytes()


def _model_files(root: Path, model_folder: Path, order: Order) -> Iterator[tuple[str, bytes]]:
    yield f"{MODEL_PACKAGE}/__init__.py", b""
    yield f"{MODEL_PACKAGE}/{ORDER_FILE}", json.dumps(asdict(order), indent=2).encode()
    yield f"{MODEL_PACKAGE}/files/{CONFIG_FILE}", (root / CONFIG_FILE).read_bytes()
    for path in model_files(model_folder):
        name = path.relative_to(root).as_posix()
        yield f"{MODEL_PACKAGE}/files/{name}", path.read_bytes()


def model_files(model_folder: Path) -> list[Path]:
    """Return the files of a model's folder that travel with a job: all but outputs, caches and hidden files."""

    def travels(path: Path) -> bool:
        parts = path.relative_to(model_folder).parts
        return (
            path.is_file()
            and parts[0] not in _NOT_SENT
            and not any(part.startswith(".") or part == "__pycache__" for part in parts)
        )

    return sorted(path for path in model_folder.rglob("*") if travels(path))


def _model_requirements(path: Path) -> tuple[str, ...]:
    """Return what the repository's requirements.txt asks for, less this package itself, which travels as source."""
    if not path.is_file():
        return ()
    requirements = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text or text.startswith("-"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise TrainingError(f"`{path.name}`, line {number}: {text}: {error}", f"mend `{path}`") from None
        if re.sub(r"[-_.]+", "-", requirement.name).lower() != "vertex-edge":
            requirements.append(text)
    return tuple(requirements)


def _sdist(name: str, version: str, files: Mapping[str, bytes], requirements: tuple[str, ...]) -> bytes:
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
