"""tune.yaml next to a model's params.yaml: which parameters a tuning job varies, and by which metric it compares.

    metric: accuracy        # one of those that save_results gets
    goal: maximize          # or minimize
    parameters:
      C: {min: 0.1, max: 1000, scale: log}
      kernel: {values: [rbf, poly]}

It is a separate file because a range is not a parameter: DVC is not to train again when one changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#ScaleType
_SCALES = {"linear": "UNIT_LINEAR_SCALE", "log": "UNIT_LOG_SCALE", "reverse-log": "UNIT_REVERSE_LOG_SCALE"}


class Range(BaseModel):
    """What one parameter may be: from `min` to `max`, or one of `values`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    min: int | float | None = None
    max: int | float | None = None
    scale: Literal["linear", "log", "reverse-log"] = "linear"
    values: list[bool | int | float | str] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.values is not None:
            if self.min is not None or self.max is not None or not self.values:
                raise ValueError("needs either `min` and `max`, or a list of `values`")
            if len({is_number(value) for value in self.values}) > 1:
                raise ValueError("has numbers and words among its `values`")
        elif self.min is None or self.max is None or self.min >= self.max:
            raise ValueError("needs either a `min` and a larger `max`, or a list of `values`")
        elif self.scale != "linear" and self.min <= 0:
            raise ValueError(f"needs a `min` above 0 for the scale `{self.scale}`")
        return self

    def __str__(self) -> str:
        """Return it in one line, as it is told."""
        if self.values is not None:
            return f"one of {', '.join(map(_word, self.values))}"
        return f"from {self.min} to {self.max}" + ("" if self.scale == "linear" else f", {self.scale} scale")

    def kind(self, current: Any) -> str:
        """Return the Vertex AI type for a parameter whose value in params.yaml is `current`."""
        if self.values is not None:
            return "DISCRETE" if is_number(self.values[0]) else "CATEGORICAL"
        whole = all(isinstance(value, int) for value in (self.min, self.max, current))
        return "INTEGER" if whole else "DOUBLE"

    def spec(self, name: str, kind: str) -> dict[str, Any]:
        """Return the ParameterSpec: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#ParameterSpec."""
        if self.values is None:
            bounds = {"min_value": self.min, "max_value": self.max}
            scale = _SCALES[self.scale]
            return {"parameter_id": name, f"{kind.lower()}_value_spec": bounds, "scale_type": scale}
        if kind == "CATEGORICAL":
            return {"parameter_id": name, "categorical_value_spec": {"values": [_word(value) for value in self.values]}}
        return {"parameter_id": name, "discrete_value_spec": {"values": sorted(set(self.values))}}


class SearchSpace(BaseModel):
    """What tune.yaml holds: the metric that is compared, whether more of it is better, and what may vary."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metric: str = Field(min_length=1, pattern=r"^\S+$")
    goal: Literal["maximize", "minimize"]
    parameters: dict[str, Range] = Field(min_length=1)


@dataclass(frozen=True)
class Ranges:
    """A checked tune.yaml. `types` is the Vertex AI type of each parameter."""

    metric: str
    maximize: bool
    parameters: Mapping[str, Range]
    types: Mapping[str, str]

    def specs(self) -> list[dict[str, Any]]:
        """Return the ParameterSpec of each parameter."""
        return [parameter.spec(name, self.types[name]) for name, parameter in self.parameters.items()]

    def restored(self, values: Mapping[str, float | str]) -> dict[str, Any]:
        """Return the values of a trial with the types that they have in params.yaml."""
        return {name: _restored(value, self.types[name]) for name, value in values.items()}


def is_number(value: Any) -> bool:
    """Say whether `value` is a number; for Python True is 1, here it is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _restored(value: float | str, kind: str) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return int(value) if kind == "INTEGER" or (kind == "DISCRETE" and value.is_integer()) else value
