"""What a job is to do: written when it is submitted, read inside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from edge_tasks.domain.provenance import Provenance, hash_of

# The package that carries the model's folder and the specification to a job, and the specification's file in it.
MODEL_PACKAGE = "edge_model"
SPEC_FILE = "order.json"

# The file in it that says what the tasks of a pipeline are to do.
PIPELINE_FILE = "pipeline.json"


@dataclass(frozen=True)
class TuningTarget:
    """What a tuning job looks for: the metric that its trials report, and the Vertex AI type of each parameter."""

    metric: str
    types: dict[str, str]


class TrainingSpec(Provenance):
    """What a job is to do, for which run. All values are plain JSON; only trials of a tuning job have a `search`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    model_name: str
    script: str
    output_uri: str
    addresses: dict[str, str] = Field(default_factory=dict, description="of the version of each path of the data")
    search: TuningTarget | None = None
    pipeline: str | None = Field(default=None, description="resource name of the pipeline job that it is a task of")

    @property
    def chosen(self) -> dict[str, Any]:
        """The parameters that say what is trained: not where it is."""
        return {name: value for name, value in self.parameters.items() if name != "is_vertex"}

    @field_validator("parameters")
    @classmethod
    def _without_secrets(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        """Keep what the training needs, though records do not show it."""
        return parameters

    @model_validator(mode="before")
    @classmethod
    def _hashed(cls, values: Any) -> Any:
        """Take the hashes of the data from their addresses, which early specifications held under `data`."""
        if not isinstance(values, Mapping):
            return values
        addresses = values.get("addresses", values.get("data", {}))
        return {**values, "addresses": addresses, "data": {path: hash_of(url) for path, url in addresses.items()}}

    def to_json(self) -> str:
        """Return the specification as the text that `from_json` reads."""
        return json.dumps(self.model_dump(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainingSpec:
        """Return the specification that `to_json` wrote."""
        return cls.model_validate(json.loads(text))
