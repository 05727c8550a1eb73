"""What people write down about their repository: its target, project, bucket, and how each model is trained and served.

Values and their checks; the file that holds them is `edge_tasks.repo.edge_yaml`'s matter.
"""

from __future__ import annotations

import difflib
import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge_tasks.domain.period import checked_period, read_period
from edge_tasks.errors import ConfigError
from edge_tasks.redaction import holds_login

FILE_NAME = "edge.yaml"

TARGETS = ("local", "gcp")

# What jobs and models of target `local` run in.
ENVIRONMENTS = ("shared", "isolated")

# https://cloud.google.com/vertex-ai/docs/general/locations (the regions that run custom jobs and endpoints)
REGIONS = (
    *("us-central1", "us-east1", "us-east4", "us-east5", "us-south1"),
    *("us-west1", "us-west2", "us-west3", "us-west4"),
    *("northamerica-northeast1", "northamerica-northeast2", "southamerica-east1", "southamerica-west1"),
    "africa-south1",
    *("europe-central2", "europe-north1", "europe-southwest1", "europe-west1", "europe-west2"),
    *("europe-west3", "europe-west4", "europe-west6", "europe-west8", "europe-west9", "europe-west12"),
    *("asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
    *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2"),
    *("australia-southeast1", "australia-southeast2", "me-central1", "me-central2", "me-west1"),
)

MODEL_NAME = re.compile(r"[a-z][a-z0-9-]{0,48}[a-z0-9]")
# Words that YAML reads as something else than text when they stand alone.
_RESERVED_NAMES = frozenset({"no", "off", "on", "yes", "true", "false", "null"})
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,61}[a-z0-9]")
_PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DIRECTORY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")

# The newest images that Google lists for scikit-learn; the training image of the same version is past its end of
# availability, so training runs in a plain Python image of the same Python version.
# https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers
DEFAULT_TRAINING_IMAGE = "mirror.gcr.io/library/python:3.10-slim"
_SERVING_IMAGE = "{multi_region}-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"


def default_serving_image(region: str) -> str:
    """Return the prebuilt scikit-learn serving image in the multi-region nearest to `region`."""
    area = region.split("-", 1)[0]
    return _SERVING_IMAGE.format(multi_region=area if area in ("europe", "asia") else "us")


def _checked_region(value: str) -> str:
    if value not in REGIONS:
        near = difflib.get_close_matches(value, REGIONS, n=1)
        others = f"did you mean `{near[0]}`?" if near else "https://cloud.google.com/vertex-ai/docs/general/locations"
        raise ValueError(f"is not a Vertex AI region; {others}")
    return value


def _checked_project_id(value: str) -> str:
    if not _PROJECT_ID.fullmatch(value):
        raise ValueError(
            "is not a Google Cloud project id (6 to 30 lower-case letters, digits and hyphens, starting with a "
            "letter and not ending with a hyphen)"
        )
    return value


def _checked_bucket_name(value: str) -> str:
    """Apply https://cloud.google.com/storage/docs/buckets#naming for names without verified domains."""
    if not _BUCKET_NAME.fullmatch(value):
        raise ValueError(
            "is not a bucket name (3 to 63 lower-case letters, digits, hyphens, underscores and dots, starting and "
            "ending with a letter or digit)"
        )
    if value.startswith("goog") or re.search(r"g[o0][o0]g[l1]e", value):
        raise ValueError("is refused by Google: a bucket name cannot start with `goog` or contain `google`")
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", value) or ".." in value or ".-" in value or "-." in value:
        raise ValueError("is not a bucket name (it looks like an IP address, or has a dot next to a dot or hyphen)")
    return value


def _checked_directory(value: str) -> str:
    if not _DIRECTORY.fullmatch(value) or ".." in value.split("/"):
        raise ValueError("is not a folder name (letters, digits, dots, hyphens, underscores, `/` in between)")
    return value


def _checked_mongo_secret(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", value):
        raise ValueError(
            "is not the name of a secret (letters, digits, hyphens and underscores); "
            "never write the secret itself, such as an address"
        )
    return value


def _checked_requirement(value: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"is not a requirement of pip: {str(error).splitlines()[0]}") from None
    if holds_login(value):
        raise ValueError("holds a login, which everybody who reads the repository or the bucket would see")
    return value


Directory = Annotated[str, AfterValidator(_checked_directory)]


def _like(pattern: str, otherwise: str) -> AfterValidator:
    """Return a check that a text matches `pattern`; `otherwise` completes the complaint about one that does not."""
    compiled = re.compile(pattern)

    def checked(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(otherwise)
        return value

    return AfterValidator(checked)


MachineType = Annotated[str, _like(r"[a-z0-9]+(-[a-z0-9]+)+", "is not a machine type, such as n1-standard-4")]
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/MachineSpec#AcceleratorType
AcceleratorType = Annotated[
    str, _like(r"(NVIDIA|TPU)_[A-Z0-9_]+", "is not an accelerator type, such as NVIDIA_TESLA_T4")
]
ServiceAccount = Annotated[
    str,
    _like(
        r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com",
        "is not a service account, such as trainer@PROJECT.iam.gserviceaccount.com",
    ),
]
# https://cloud.google.com/resource-manager/docs/labels-overview
LabelKey = Annotated[
    str,
    _like(
        r"(?!edge-)[a-z][a-z0-9_-]{0,62}",
        "is not a label's name (lower-case letters, digits, _ and -, at most 63, not beginning with `edge-`)",
    ),
]
LabelValue = Annotated[
    str, _like(r"[a-z0-9_-]{0,63}", "is not a label's value (lower-case letters, digits, _ and -, at most 63)")
]

# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.metadataStores.contexts/create
ExperimentName = Annotated[
    str,
    _like(
        r"[a-z0-9][a-z0-9-]{0,90}",
        "is not an experiment's name (lower-case letters, digits and hyphens, at most 91, no hyphen first)",
    ),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoogleCloudProject(_Section):
    """Where things run on Google Cloud; target `local` uses the same names on its own servers."""

    project_id: Annotated[str, AfterValidator(_checked_project_id)] = Field(description="Google Cloud project id")
    region: Annotated[str, AfterValidator(_checked_region)] = Field(description="Vertex AI region")


class StorageBucket(_Section):
    """The bucket that holds data versions, job packages, artifacts and the shared state."""

    bucket_name: Annotated[str, AfterValidator(_checked_bucket_name)] = Field(description="without gs://")
    dvc_store_directory: Directory = Field(default="dvcstore", description="folder of the DVC remote")
    vertex_jobs_directory: Directory = Field(default="vertex", description="folder of job packages and outputs")


class Local(_Section):
    """How target `local` runs jobs and models on this machine."""

    environments: Literal["shared", "isolated"] = Field(
        default="shared",
        description="in the Python environment of the tasks, or each in one that uv makes like its image's",
    )


class Experiments(_Section):
    """Where runs are recorded."""

    directory: Directory = Field(default="experiments", description="folder in the bucket")
    mongo_uri_secret: Annotated[str | None, AfterValidator(_checked_mongo_secret)] = Field(
        default=None, description="name of the secret that holds a MongoDB address, for teams with Omniboard"
    )
    vertex_experiment: ExperimentName | None = Field(
        default=None, description="the experiment of Vertex AI Experiments that shows the runs, too"
    )


# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelContainerSpec
EnvironmentName = Annotated[
    str,
    _like(
        r"(?!AIP_)[A-Za-z_][A-Za-z0-9_]*",
        "is not a variable's name (letters, digits and underscores; AIP_* are Vertex AI's own)",
    ),
]
Route = Annotated[str, _like(r"/[\w./:{}-]*", "is not a path that begins with /")]


class ServingContainer(_Section):
    """What is run in one's own serving image, and how it is asked; what is empty is the image's or Google's."""

    command: list[str] = Field(default_factory=list, description="in place of the image's entrypoint")
    args: list[str] = Field(default_factory=list, description="in place of the image's command")
    port: int | None = Field(default=None, ge=1, le=65535, description="where it listens (8080)")
    predict_route: Route | None = Field(default=None, description="path of predict requests")
    health_route: Route | None = Field(default=None, description="path of health checks")


Period = Annotated[str, AfterValidator(checked_period)]
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules
_CRON = r"((CRON_)?TZ=\S+ +)?([^=\s]+ +){4}[^=\s]+"
_NO_CRON = "is not a cron expression: five fields in UTC, such as 0 6 * * *, or after TZ=ZONE"
Cron = Annotated[str, _like(_CRON, _NO_CRON)]


def check_cron(text: str) -> None:
    """Raise ConfigError for text without the form of a cron expression."""
    if not re.fullmatch(_CRON, text):
        raise ConfigError(f"`{text}` {_NO_CRON}", "invoke pipeline.schedule 'TZ=Europe/Berlin 0 9 * * 1-5'")


def _checked_zero_period(text: str) -> str:
    """Apply https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/DedicatedResources#ScaleToZeroSpec."""
    if not timedelta(minutes=5) <= read_period(checked_period(text)) <= timedelta(hours=8):
        raise ValueError("is not a time from 5m to 8h, which is what Vertex AI takes")
    return text


ZeroPeriod = Annotated[str, AfterValidator(_checked_zero_period)]


class ScaleToZero(_Section):
    """When what serves goes to no replica because nobody asks: a preview of Vertex AI's, in v1beta1."""

    idle: ZeroPeriod = Field(default="1h", description="when nobody has asked for so long: 5m to 8h")
    up_for: ZeroPeriod = Field(default="1h", description="but not before it has been up for so long: 5m to 8h")


class Monitoring(_Section):
    """What of a model's requests is watched, and what a change leads to."""

    columns: list[str] = Field(
        default_factory=list, description="the only columns that are looked at and reported, besides the predictions"
    )
    thresholds: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="distances by column from which on it has changed, in place of the computed ones",
    )
    window: Period = Field(default="1d", description="how far back requests are looked at: 30m, 12h, 7d, 2w")
    fewest_requests: int = Field(default=200, ge=1, description="there is no verdict on fewer requests")
    on_drift: Literal["report", "issue", "train"] = Field(
        default="report", description="what `ci.monitor` does when a column has changed"
    )
    schedule: Cron | None = Field(
        default=None,
        description="when a monitor of Vertex AI's looks (`model.monitor --managed`), such as 0 6 * * *; without it "
        "Vertex AI's monitoring job does, once in a window",
    )
    emails: list[str] = Field(
        default_factory=list, description="whom Vertex AI's own monitoring (`model.monitor --managed`) writes to"
    )
    keep: Period | None = Field(
        default=None, description="`ci.monitor` deletes kept requests that are older; without it none"
    )


class ModelConfig(_Section):
    """How one model is trained and served. Machine types are Compute Engine's names, accelerators Vertex AI's."""

    endpoint_name: str = Field(min_length=1, max_length=128, description="display name of the endpoint")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, description="on the jobs, versions and endpoints of the model"
    )

    training_container_image_uri: str = Field(default=DEFAULT_TRAINING_IMAGE, min_length=1)
    training_requirements: list[Annotated[str, AfterValidator(_checked_requirement)]] = Field(
        default_factory=list, description="what pip installs for a job, after the repository's requirements.txt"
    )
    training_machine_type: MachineType = "n1-standard-4"
    training_accelerator_type: AcceleratorType | None = None
    training_accelerator_count: int = Field(default=1, ge=1, description="for each machine; used with a type only")
    training_replica_count: int = Field(default=1, ge=1, description="machines of a job")
    training_spot: bool = Field(default=False, description="cheaper machines that Google may take away")
    training_service_account: ServiceAccount | None = Field(default=None, description="as whom a job runs")
    training_timeout_seconds: int = Field(default=24 * 3600, ge=60, description="after this a job is ended")

    serving: Literal["prebuilt", "predictor", "container"] | None = Field(
        default=None,
        description="what serves: Google's prebuilt image, our predictor, or one's own image; without it this "
        "follows from the model",
    )
    serving_container_image_uri: str | None = Field(default=None, min_length=1)
    serving_container: ServingContainer = Field(
        default_factory=ServingContainer, description="with one's own image: what is run in it"
    )
    serving_builder: Literal["cloud-build", "docker"] = Field(
        default="cloud-build", description="what builds the predictor's image on Google Cloud"
    )
    serving_env: dict[EnvironmentName, str] = Field(
        default_factory=dict, max_length=100, description="environment variables of what serves; no secrets"
    )
    serving_machine_type: MachineType = "n1-standard-2"
    serving_accelerator_type: AcceleratorType | None = None
    serving_accelerator_count: int = Field(default=1, ge=1, description="for each replica; used with a type only")
    serving_service_account: ServiceAccount | None = Field(default=None, description="as whom the model's server runs")
    min_replica_count: int = Field(default=1, ge=1)
    max_replica_count: int = Field(default=1, ge=1)
    scale_to_zero: ScaleToZero | None = Field(
        default=None,
        description="no replica while nobody asks, a preview of Vertex AI's (docs/costs.md); min_replica_count is then "
        "how many start with the first request",
    )

    monitoring: Monitoring = Field(
        default_factory=Monitoring, description="what is watched, and what a change leads to"
    )


class EdgeConfig(_Section):
    """The whole of edge.yaml."""

    target: Literal["local", "gcp"] = Field(default="local", description="where commands run")
    google_cloud_project: GoogleCloudProject
    storage_bucket: StorageBucket
    experiments: Experiments = Experiments()
    local: Local = Local()
    models: dict[str, ModelConfig] = Field(default_factory=dict)

    def model(self, name: str | None) -> tuple[str, ModelConfig]:
        """Return the model called `name`, or the only one when `name` is None, with its name.

        Raises ConfigError that lists the names when it is not clear which is meant.
        """
        known = ", ".join(f"`{known}`" for known in self.models)
        if not self.models:
            raise ConfigError(f"`{FILE_NAME}` names no model yet", "invoke model.init NAME")
        if name is None:
            if len(self.models) > 1:
                raise ConfigError(f"there are several models: {known}", "add `--name NAME`")
            name = next(iter(self.models))
        if name not in self.models:
            near = difflib.get_close_matches(name, self.models, n=1)
            raise ConfigError(
                f"`{FILE_NAME}` has no model `{name}`; it has {known}",
                f"did you mean `{near[0]}`?"
                if near
                else f"invoke model.list shows them; invoke model.init {name} makes one",
            )
        return name, self.models[name]

    def serving_image(self, model: ModelConfig) -> str:
        """Return the image that serves `model`: its own, or the region's prebuilt scikit-learn image."""
        return model.serving_container_image_uri or default_serving_image(self.google_cloud_project.region)


def check_model(name: str, model: ModelConfig) -> None:
    """Raise ConfigError when the model's name, or two of its settings together, make no sense."""
    check_model_name(name)
    if model.max_replica_count < model.min_replica_count:
        raise ConfigError(
            f"`{FILE_NAME}`: models.{name}.max_replica_count is {model.max_replica_count}, less than "
            f"min_replica_count ({model.min_replica_count})",
            "make max_replica_count at least min_replica_count",
        )


def check_model_name(name: str) -> None:
    """Raise ConfigError unless `name` can be a folder, a label value and part of a model id at once."""
    if name in _RESERVED_NAMES:
        raise ConfigError(f"`{name}` cannot be a model's name: YAML reads it as a value", "choose another name")
    if not MODEL_NAME.fullmatch(name):
        raise ConfigError(
            f"`{name}` cannot be a model's name",
            "use 2 to 50 lower-case letters, digits and hyphens; start with a letter, end with a letter or digit",
        )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of edge.yaml, for editors."""
    schema = EdgeConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = FILE_NAME
    return schema


def lookup(config: EdgeConfig, key: str) -> Any:
    """Return the value at the dotted `key`, such as `google_cloud_project.region`, as plain values.

    Raises ConfigError that lists the keys that there are.
    """
    value: Any = config.model_dump(mode="json")
    path: list[str] = []
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            where = f" in `{'.'.join(path)}`" if path else ""
            known = ", ".join(f"`{name}`" for name in value) if isinstance(value, dict) else ""
            raise ConfigError(
                f"`{FILE_NAME}` has no key `{part}`{where}",
                f"there are {known}" if known else "invoke config.show",
            )
        value = value[part]
        path.append(part)
    return value
