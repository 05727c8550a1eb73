"""What the tasks of a pipeline are to do: written when it is exported, read inside each of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_CONFIG = ConfigDict(extra="forbid", frozen=True)


class StageOrder(BaseModel):
    """What one stage of dvc.yaml does. Paths are from the repository's root; artifacts are known by their keys."""

    model_config = _CONFIG

    folder: str = Field(description="the working directory of the commands")
    commands: list[str] = Field(default_factory=list, description="for a shell, one after the other; none trains")
    recorded: dict[str, str] = Field(default_factory=dict, description="path of data that no task makes to its address")
    inputs: dict[str, str] = Field(default_factory=dict, description="artifact of another task to its path")
    outputs: dict[str, str] = Field(default_factory=dict, description="artifact that the stage makes to its path")


class PipelineOrder(BaseModel):
    """What the tasks of one model do. `store` is the address of the folder in which DVC's remote keeps data by hash.

    The pipeline's own parameters are put over `parameters`. `origin` is the object that tells from which commit, and
    by whom, this was exported: it is not a part of the order, since the same code of another commit does the same.
    """

    model_config = _CONFIG

    model_name: str
    script: str
    parameters: dict[str, Any]
    store: str
    origin: str
    stages: dict[str, StageOrder]
