"""What a job is to do: written when it is submitted, read inside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from edge_tasks.domain.json_values import plain
from edge_tasks.domain.provenance import hash_of

# The package that carries the model's folder and the spec to a job, and the spec's file in it.
MODEL_PACKAGE = "edge_model"
SPEC_FILE = "order.json"


@dataclass(frozen=True)
class TuningTarget:
    """What a tuning job looks for: the metric that its trials report, and the Vertex AI type of each parameter."""

    metric: str
    types: dict[str, str]


@dataclass(frozen=True)
class TrainingSpec:
    """What a job is to do: written when it is submitted, read inside it. All values are plain JSON.

    `data` is the address of the version of each path. `search` is there for the trials of a tuning job only.
    """

    run_id: str
    model_name: str
    script: str
    output_uri: str
    parameters: dict[str, Any]
    data: dict[str, str]
    commit: str | None = None
    dirty: bool | None = None
    user: str | None = None
    search: TuningTarget | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """The DVC hash of each path of the data."""
        return {path: hash_of(url) for path, url in self.data.items()}

    def facts(self, target: str) -> dict[str, Any]:
        """Return the fields of the run's record that the specification decides."""
        return {
            "script": self.script,
            "user": self.user,
            "target": target,
            "commit": self.commit,
            "dirty": self.dirty,
            "data": self.hashes,
            "parameters": plain(self.parameters),
        }

    def to_json(self) -> str:
        """Return the spec as the text that `from_json` reads."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainingSpec:
        """Return the spec that `to_json` wrote."""
        values = json.loads(text)
        search = values.pop("search", None)
        return cls(**values, search=TuningTarget(**search) if search else None)
