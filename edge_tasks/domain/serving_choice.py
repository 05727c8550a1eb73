"""What serves a model: Google's prebuilt image where that answers the same, else our predictor, or a container.

It follows from the artifact (its files, signature, libraries) and from what edge.yaml says; the reason is a part of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.domain import images
from edge_tasks.domain.config import EdgeConfig, ModelConfig
from edge_tasks.domain.model_formats import CODE_FOLDER, PREDICTOR_FILE, format_of
from edge_tasks.domain.signature import Signature
from edge_tasks.errors import ConfigError

PREBUILT, PREDICTOR, CONTAINER = "prebuilt", "predictor", "container"

# The repository of Artifact Registry that holds the predictors' images, and what they are called there.
IMAGE_REPOSITORY, IMAGE_NAME = "edge-serving", "predictor"
PORT, HEALTH_ROUTE, PREDICT_ROUTE = 8080, "/health", "/predict"


@dataclass(frozen=True)
class ArtifactFacts:
    """What an artifact says about itself.

    `files` are relative to its folder, `environment` is Python and the libraries that it names, `requirements` the
    content of its requirements.txt; the latter two and `signature` are there when save_results wrote it.
    """

    files: tuple[str, ...]
    signature: Signature | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    requirements: str | None = None

    @property
    def has_predictor(self) -> bool:
        """Whether it holds its own predictor."""
        return f"{CODE_FOLDER}/{PREDICTOR_FILE}" in self.files

    @property
    def own_modules(self) -> list[str]:
        """The modules of the model's folder that it needs."""
        tops = {name.split("/")[1] for name in self.files if name.startswith(f"{CODE_FOLDER}/") and "/" in name}
        return sorted(top.removesuffix(".py") for top in tops)


@dataclass(frozen=True)
class ContainerSpec:
    """What the model registry is told of the container that serves a version; empty is Google's default."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    port: int | None = None
    predict_route: str = ""
    health_route: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """Return it as Vertex AI's ModelContainerSpec."""
        values = {
            "image_uri": self.image,
            "command": list(self.command),
            "args": list(self.args),
            "ports": [{"container_port": self.port}] if self.port else [],
            "predict_route": self.predict_route,
            "health_route": self.health_route,
            "env": [{"name": name, "value": value} for name, value in sorted(self.env.items())],
        }
        return {key: value for key, value in values.items() if value}

    @property
    def digest(self) -> str:
        """One short hash over all of it."""
        return hashlib.sha256(json.dumps(self.message(), sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: ContainerSpec) -> list[str]:
        """Return in words what `other` has differently."""
        words = []
        for name in ("image", "command", "args", "port", "predict_route", "health_route", "env"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                words.append(f"{name.replace('_', ' ')}: {_shown(mine)} -> {_shown(theirs)}")
        return words


@dataclass(frozen=True)
class Serving:
    """What serves a model, and why."""

    kind: str
    why: str
    container: ContainerSpec


def choose(config: EdgeConfig, name: str, artifact: ArtifactFacts) -> Serving:
    """Return what serves the model `name` with this artifact.

    Raises ConfigError when edge.yaml asks for what cannot be.
    """
    settings = config.models[name]
    image = config.serving_image(settings)
    own_image = settings.serving_container_image_uri is not None and images.prebuilt(image) is None
    if settings.serving == CONTAINER or (settings.serving is None and own_image):
        if not own_image:
            raise ConfigError(
                f"`models.{name}.serving` is `container`, but it names no image",
                f"set `models.{name}.serving_container_image_uri`",
            )
        return Serving(CONTAINER, "edge.yaml names its own image", _own_container(settings, image))
    against = reason_against_prebuilt(image, artifact)
    if settings.serving == PREBUILT or (settings.serving is None and not against):
        why = "edge.yaml says so" if settings.serving else _reason_for_prebuilt(artifact)
        return Serving(PREBUILT, why, ContainerSpec(image, env=dict(settings.serving_env)))
    why = "edge.yaml says so" if settings.serving else against
    spec = ContainerSpec(
        predictor_image(config, artifact),
        port=PORT,
        predict_route=PREDICT_ROUTE,
        health_route=HEALTH_ROUTE,
        env=dict(settings.serving_env),
    )
    return Serving(PREDICTOR, why, spec)


def _own_container(settings: ModelConfig, image: str) -> ContainerSpec:
    section = settings.serving_container
    return ContainerSpec(
        image,
        command=tuple(section.command),
        args=tuple(section.args),
        port=section.port,
        predict_route=section.predict_route or "",
        health_route=section.health_route or "",
        env=dict(settings.serving_env),
    )


def _reason_for_prebuilt(artifact: ArtifactFacts) -> str:
    if artifact.signature is not None and artifact.signature.differs == "":
        return "it answers the same as the model itself"
    return "nothing is known that it could not do"


def reason_against_prebuilt(image: str, artifact: ArtifactFacts) -> str:
    """Return why Google's prebuilt image would not do for this artifact; empty when nothing is known against it.

    An artifact that save_results did not write, or that has no signature, is one of which little is known.
    """
    prebuilt = images.prebuilt(image)
    if prebuilt is None:
        return f"{image} is not a prebuilt image"
    if artifact.has_predictor:
        return f"the model has a {PREDICTOR_FILE}"
    form = format_of(artifact.files)
    if form is not None and prebuilt.framework not in form.prebuilt:
        return f"the image for {prebuilt.framework} does not load {form.file}"
    if artifact.own_modules:
        modules = ", ".join(f"`{module}`" for module in artifact.own_modules)
        return f"the model needs its own code ({modules}), which the image does not have"
    signature = artifact.signature
    if signature is not None and signature.differs:
        return signature.differs
    version = artifact.environment.get(prebuilt.package)
    if artifact.requirements and version and version.split(".")[:2] != prebuilt.shown_version.split("."):
        return f"the model was trained with {prebuilt.package} {version}, the image holds {prebuilt.shown_version}"
    lacking = images.lacking(prebuilt, artifact.environment) if artifact.requirements else []
    if lacking:
        return f"the model needs {', '.join(lacking)}, which the image does not have"
    return ""


def predictor_image(config: EdgeConfig, artifact: ArtifactFacts) -> str:
    """Return the address of the predictor's image, whose tag is a hash over all that is in it."""
    place = config.google_cloud_project
    return f"{place.region}-docker.pkg.dev/{place.project_id}/{IMAGE_REPOSITORY}/{IMAGE_NAME}:{image_tag(artifact)}"


def image_tag(artifact: ArtifactFacts) -> str:
    """Return one short hash over Python, the libraries, and the version of this package."""
    import edge_tasks

    content = {
        "python": python_version(artifact),
        "requirements": _pins(artifact.requirements or ""),
        "vertex-edge": edge_tasks.__version__,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def python_version(artifact: ArtifactFacts) -> str:
    """Return the minor version of Python that the artifact was made with, such as 3.10."""
    match = re.match(r"\d+\.\d+", artifact.environment.get("python", ""))
    return match[0] if match else "3.10"


def _pins(text: str) -> list[str]:
    return sorted(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _shown(value: Any) -> str:
    if not value:
        return "none"
    if isinstance(value, Mapping):
        return json.dumps(dict(value), sort_keys=True)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return json.dumps(list(value))
    return str(value)
