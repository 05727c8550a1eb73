"""Resource names and ids, and the rules for what clients may call things."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from edge_tasks.emulator.errors import ApiError, Code, invalid, invalid_field
from edge_tasks.emulator.http.exchange import IS_BETA
from edge_tasks.emulator.projects import PROJECT_ID
from edge_tasks.emulator.services.registry import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_tasks.emulator.schema.surface import Message

PROJECT = PROJECT_ID
LOCATION = r"[a-z0-9-]{1,40}"
PARENT = re.compile(rf"projects/({PROJECT})/locations/({LOCATION})")
MODEL = re.compile(rf"(projects/{PROJECT}/locations/{LOCATION})/models/([\w-]{{1,63}})(?:@([\w-]{{1,128}}))?")
MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
ENDPOINT_ID = re.compile(r"[1-9][0-9]{0,9}|[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
# https://cloud.google.com/vertex-ai/docs/model-registry/model-alias
ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
# In Google's words: https://github.com/statmike/vertex-ai-mlops/issues/6. Letters of all scripts that have no case are
# welcome: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models.
LABEL_LIMIT, LABEL_LENGTH, LABEL_BYTES = 64, 64, 128
LABEL_RULES = (
    "There can be no more than 64 labels attached to a single resource. Label keys and values can only contain"
    " lowercase letters, numbers, dashes and underscores. Label keys must start with a letter or number, must be less"
    " than 64 characters in length, and must be less that 128 bytes in length when encoded in UTF-8. Label values must"
    " be less than 64 characters in length, and must be less that 128 bytes in length when encoded in UTF-8."
)
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/EnvVar: a C identifier.
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ModelName(NamedTuple):
    """A model's name, taken apart."""

    parent: str
    model_id: str
    version: str | None

    @property
    def name(self) -> str:
        """The name without a version."""
        return f"{self.parent}/models/{self.model_id}"


def check_parent(parent: str) -> None:
    """Refuse a parent that is not a `projects/P/locations/L`."""
    if not PARENT.fullmatch(parent):
        raise invalid(f"Invalid parent {parent!r}: it must be projects/PROJECT/locations/LOCATION.")


def check_numeric_name(kind: str, name: str) -> None:
    """Refuse the name of a resource whose id is not a number, where Vertex AI gives numbers only, in its own words."""
    if not name.rpartition("/")[2].isdecimal():
        raise invalid_field("name", f"Invalid {kind} resource name.")


def project_and_location(name: str) -> tuple[str, str]:
    """Return the project and the location that a resource's name begins with."""
    match = PARENT.match(name)
    if match is None:
        raise invalid(f"Invalid resource name {name!r}.")
    return match.group(1), match.group(2)


def project_of(name: str) -> str:
    """Return the project that a resource's name begins with; empty when it names none."""
    match = PARENT.match(name)
    return match.group(1) if match else ""


def parse_model(name: str, field: str = "name") -> ModelName:
    """Read `projects/P/locations/L/models/ID[@VERSION_OR_ALIAS]`."""
    match = MODEL.fullmatch(name)
    if match is None:
        raise invalid(f"Invalid {field} {name!r}: it must be projects/P/locations/L/models/ID[@VERSION].")
    return ModelName(*match.groups())


def new_id() -> str:
    """Return an id as Vertex AI makes them: a number of 19 digits that fits 63 bits."""
    return str(10**18 + secrets.randbelow(8 * 10**18))


def new_operation_id() -> str:
    """Return the id of an operation: its first digit tells whether it was asked for by v1beta1.

    An operation holds messages of the version that it was asked for, and clients poll it by a path without a version.
    """
    return f"{9 if IS_BETA.get() else secrets.choice('12345678')}{secrets.randbelow(2 * 10**17):018}"


def check_display_name(resource: Message, *, required: bool = True) -> None:
    """Refuse a display name that is missing or too long."""
    if required and not resource.display_name:
        raise invalid("display_name is required.")
    if len(resource.display_name) > 128:
        raise invalid("display_name must not be longer than 128 characters.")


def check_labels(resource: Message, field: str = "") -> None:
    """Refuse labels that break the rules of Google Cloud; `field` is where they stand, as in `custom_job.labels`."""
    labels = resource.labels
    keys_begin_well = all(key and key[0].isalnum() for key in labels)
    texts = (text for pair in labels.items() for text in pair)
    if len(labels) > LABEL_LIMIT or not keys_begin_well or not all(map(_is_label_text, texts)):
        raise invalid_field(field or f"{snake_case(resource.DESCRIPTOR.name)}.labels", LABEL_RULES)


def check_etag(resource: Message, given: Message) -> None:
    """Refuse an update of what has changed since the client has read it; without an etag nothing is compared."""
    if given.etag and given.etag != resource.etag:
        raise ApiError(
            Code.ABORTED,
            f"The etag {given.etag!r} does not match that of `{resource.name}`, which is {resource.etag!r}:"
            " read the resource again, and then update it.",
        )


def check_aliases(aliases: Iterable[str]) -> None:
    """Refuse version aliases that could be taken for version ids or would not fit in a URL."""
    for alias in aliases:
        if not ALIAS.fullmatch(alias):
            raise invalid(f"Invalid version alias {alias!r}: it must match {ALIAS.pattern}.")


def check_variables(variables: Iterable[Message]) -> None:
    """Refuse environment variables that no process could have."""
    for variable in variables:
        if not VARIABLE.fullmatch(variable.name):
            raise invalid(f"Invalid environment variable {variable.name!r}: its name must be a C identifier.")
        if "\0" in variable.value:
            raise invalid(f"The value of the environment variable {variable.name} must not hold NUL characters.")


def _is_label_text(text: str) -> bool:
    return (
        len(text) < LABEL_LENGTH
        and len(text.encode()) < LABEL_BYTES
        and all(character in "_-" or (character.isalnum() and character == character.lower()) for character in text)
    )
