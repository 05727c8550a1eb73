"""A model's signature: what one instance looks like, and what is answered to it.

A training describes it from a sample of its inputs (`edge_tasks.training.describe`), `signature.json` lies next to the
artifact, and requests are checked against it where `edge_tasks.serving` answers them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FILE_NAME = "signature.json"
FORMAT_VERSION = 1

# What instances are: objects with a value for each column; arrays of numbers; texts; bytes; anything else.
TABLE, ARRAY, TEXTS, BYTES, OBJECTS = "table", "array", "texts", "bytes", "objects"

# The types of a column, and of which Python type their values are in JSON. A float with an integer's value passes for
# an integer: Google's typed client sends every number as a float.
_PYTHON_TYPES: dict[str, frozenset[type]] = {
    "integer": frozenset({int, float}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "string": frozenset({str}),
    "datetime": frozenset({str}),
}
_SHOWN = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "datetime": "a date as a text",
}
# Of these, null is a value: it becomes NaN, NaT or None.
_HAVE_MISSING = frozenset({"number", "string", "datetime", "any"})

# How far a column's name may be from what was given to be named in the error.
_ALIKE = 0.6


class RequestError(Exception):
    """A request is not what the signature says; the text names the instance and the column."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `type` is integer, number, boolean, string, datetime or any. `optional` columns had missing values in the sample.
    `categories` are the values of a text column with few of them, `minimum` and `maximum` those of numbers; both are
    facts about the sample, and no limits. `dtype` is pandas' name of the type. `levels` are all categories of a column
    of pandas' type `category`, in their order: libraries know them by their place in it; `ordered` says that it means
    something.
    """

    name: str
    type: str
    optional: bool = False
    dtype: str = ""
    categories: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[Any, ...] = ()
    ordered: bool = False

    def check(self, values: Sequence[Any]) -> None:
        """Raise RequestError that names the first of `values` (one for each instance) which cannot be this column's."""
        wanted = _PYTHON_TYPES.get(self.type)
        if wanted is None:
            return
        found = set(map(type, values))
        missing_is_a_value = self.optional or self.type in _HAVE_MISSING
        if missing_is_a_value:
            found.discard(type(None))
        if found <= wanted and not (self.type == "integer" and float in found):
            return
        for number, value in enumerate(values):
            if value is None and missing_is_a_value:
                continue
            whole = not (self.type == "integer" and isinstance(value, float)) or value.is_integer()
            if type(value) not in wanted or not whole:
                raise RequestError(f"instance {number}: column `{self.name}` is {_word(value)}, not {self.shown_type}")

    @property
    def shown_type(self) -> str:
        """The type as a sentence names it."""
        return _SHOWN.get(self.type, "a value")


@dataclass(frozen=True)
class Output:
    """What is answered to one instance: a class, a number, a text, a vector (of `length`), or an object."""

    form: str = ""
    classes: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    length: int | None = None


@dataclass(frozen=True)
class Signature:
    """What one instance looks like, and what is answered to it.

    `form` is one of this module's words; `columns` belong to a table, `shape` and `dtype` to arrays. `example` is one
    instance as JSON. `method` is what of the model is called. `differs` says why Google's prebuilt image would not
    answer the same: empty when it was tried and would, None when it was not tried.
    """

    form: str
    columns: tuple[Column, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = ""
    example: Any = None
    method: str = "predict"
    output: Output = field(default_factory=Output)
    differs: str | None = None

    def by_column(self, instances: Sequence[Any]) -> dict[str, list[Any]]:
        """Return the values of a table's instances by column, checked.

        An instance is an object with a value for each column, or a list of them in the columns' order. An optional
        column may be left out, and what the model has no column for is left aside.
        """
        names = [column.name for column in self.columns]
        if all(type(instance) is dict for instance in instances):
            if all(name in instance for instance in instances for name in names):
                by_column = {name: [instance[name] for instance in instances] for name in names}
            else:
                by_column = self._with_gaps(instances)
        else:
            by_column = self._from_lists(instances)
        for column in self.columns:
            column.check(by_column[column.name])
        return by_column

    def _with_gaps(self, instances: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        names = [column.name for column in self.columns]
        optional = {column.name for column in self.columns if column.optional}
        for number, instance in enumerate(instances):
            missing = [name for name in names if name not in instance]
            others = [str(name) for name in instance if name not in names]
            for name in missing:
                near = difflib.get_close_matches(name, others, n=1, cutoff=_ALIKE)
                if near:
                    raise RequestError(f"instance {number} has no column `{name}`; did you mean it by `{near[0]}`?")
                if name not in optional:
                    raise RequestError(f"instance {number} has no column `{name}`; the columns are {_listed(names)}")
        return {name: [instance.get(name) for instance in instances] for name in names}

    def _from_lists(self, instances: Sequence[Any]) -> dict[str, list[Any]]:
        names = [column.name for column in self.columns]
        rows = []
        for number, instance in enumerate(instances):
            row = [instance.get(name) for name in names] if isinstance(instance, dict) else instance
            if not isinstance(row, list):
                raise RequestError(
                    f"instance {number} is {_word(instance)}, not an object with the columns {_listed(names)}"
                )
            if len(row) != len(names):
                raise RequestError(
                    f"instance {number} has {len(row)} values, there are {len(names)} columns: {_listed(names)}"
                )
            rows.append(row)
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def check_texts(self, instances: Sequence[Any]) -> None:
        """Raise RequestError that names the first instance which is not a text."""
        for number, instance in enumerate(instances):
            if not isinstance(instance, str):
                raise RequestError(f"instance {number} is {_word(instance)}, not a text")

    def to_json(self) -> str:
        """Return the content of signature.json: what is empty is left out."""
        values = {"format_version": FORMAT_VERSION, **_filled(asdict(self))}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Signature:
        """Read signature.json. Raises ValueError when it is not one, or a newer one."""
        values = json.loads(text)
        if not isinstance(values, dict) or values.pop("format_version", None) != FORMAT_VERSION:
            raise ValueError(f"it does not have the format {FORMAT_VERSION}")
        try:
            output: dict[str, Any] = values.pop("output", {})
            columns = tuple(
                Column(
                    **{"name": "", **column, **{key: tuple(column.get(key, ())) for key in ("categories", "levels")}}
                )
                for column in values.pop("columns", ())
            )
            return cls(
                **{**values, "shape": tuple(values.get("shape", ()))},
                columns=columns,
                output=Output(
                    form=output.get("form", ""),
                    classes=tuple(output.get("classes", ())),
                    names=tuple(output.get("names", ())),
                    length=output.get("length"),
                ),
            )
        except TypeError as error:
            raise ValueError(str(error)) from None

    def facts(self) -> dict[str, Any]:
        """Return what people want to know of it, as plain values: each column in one line."""
        values = _filled(asdict(self))
        if self.columns:
            values["columns"] = {column.name: _described(column) for column in self.columns}
        return values


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """Return what is not empty, all the way down; an empty text of `differs` says something."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key != "example":
            value = _filled(value)
        elif isinstance(value, tuple):
            value = [_filled(item) if isinstance(item, dict) else item for item in value]
        if (value not in (None, "", [], {}) and value is not False) or (key == "differs" and value is not None):
            found[key] = value
    return found


def _described(column: Column) -> str:
    words = [column.type]
    if column.categories:
        words.append(f"({', '.join(column.categories[:8])}{', ...' if len(column.categories) > 8 else ''})")
    if column.minimum is not None:
        words.append(f"from {column.minimum:g} to {column.maximum:g}")
    return " ".join([*words, *(["optional"] if column.optional else [])])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:12])
    return f"{shown}, and {len(names) - 12} more" if len(names) > 12 else shown


def _word(value: Any) -> str:
    """Return how an error names a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'the text "{value[:40]}"'
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "an object"
