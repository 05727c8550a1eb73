"""Where a model comes from: the run that made it, and that run's code, data, parameters, person and libraries."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

# Characters of a version's description. No limit is documented; this one is far below what any service of Google's has.
_LONGEST_DESCRIPTION = 2000

_Kind = TypeVar("_Kind", bound="Provenance")


@dataclass(frozen=True)
class Commit:
    """The git commit that is checked out, and whether files differ from it."""

    sha: str
    dirty: bool


class Provenance(BaseModel):
    """What everything that comes from a run says of it: a job's specification, a record, a trained model, a deployment.

    Those are Provenances with more fields, so that their formats on disk and in the bucket stay flat, and a further
    fact is a further field here and nowhere else.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    run_id: str | None = None
    commit: str | None = None
    dirty: bool | None = Field(default=None, description="whether files differed from the commit")
    data: dict[str, str] = Field(default_factory=dict, description="path of each data file to its DVC hash")
    parameters: dict[str, Any] = Field(default_factory=dict)
    user: str | None = None
    environment: dict[str, str] = Field(default_factory=dict, description="Python and library versions of the training")

    @classmethod
    def of_checkout(cls, run_id: str, commit: Commit | None, **more: Any) -> Provenance:
        """Return the provenance of a run whose code is what git has checked out."""
        return cls(run_id=run_id, commit=commit.sha if commit else None, dirty=commit.dirty if commit else None, **more)

    @property
    def provenance(self) -> Provenance:
        """The provenance alone."""
        return self.into(Provenance)

    def into(self, kind: type[_Kind], **more: Any) -> _Kind:
        """Return a `kind` with this provenance, and `more`, the fields that the kind has on top."""
        return kind(**{name: getattr(self, name) for name in Provenance.model_fields}, **more)

    def facts(self) -> dict[str, Any]:
        """Return what is known, by field."""
        return {name: value for name in Provenance.model_fields if (value := getattr(self, name)) not in (None, {})}

    def description(self) -> str:
        """Return for people, and whole, what labels hold as hashes: commit, data and parameters."""
        values = {name: getattr(self, name) for name in ("commit", "dirty", "data", "parameters")}
        return json.dumps(values, sort_keys=True, default=str)[:_LONGEST_DESCRIPTION]


def new_run_id(now: datetime | None = None) -> str:
    """Return an id that no other run has and that sorts by time: 20261122-204655-1a2b3c4d (UTC).

    It is at once a folder's name, an object's name and a legal label value.
    """
    now = now or datetime.now(timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def hash_of(url: str) -> str:
    """Return the hash in DVC's address of a version: .../files/md5/26/ab0db9... is 26ab0db9..."""
    folder, _, name = url.rpartition("/")
    return folder.rpartition("/")[2] + name


def data_version(data: Mapping[str, str]) -> str:
    """Return one short hash over the DVC hashes of all data (path to hash); empty when there is none."""
    if not data:
        return ""
    text = "\n".join(f"{path}\t{data[path]}" for path in sorted(data))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parameters_version(parameters: Mapping[str, Any]) -> str:
    """Return one short hash over the names and values of all parameters; empty when there are none."""
    if not parameters:
        return ""
    text = json.dumps(parameters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
