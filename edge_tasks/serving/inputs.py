"""From the instances of a request to what a model takes: a DataFrame, an array, texts, bytes."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any

from edge_tasks.domain.signature import ARRAY, BYTES, TABLE, TEXTS, Column, RequestError, Signature

Reader = Callable[[list[Any]], Any]


def reader_of(signature: Signature | None) -> Reader:
    """Return the function that turns instances into what the model of this signature takes.

    Without a signature rows become an array, and objects a DataFrame.
    """
    if signature is None:
        return _without_signature
    if signature.form == TABLE:
        return _Table(signature)
    if signature.form == ARRAY:
        return _Array(signature)
    if signature.form == TEXTS:
        return _Texts(signature)
    return decoded if signature.form == BYTES else _as_they_are


def _as_they_are(instances: list[Any]) -> Any:
    return instances


def _without_signature(instances: list[Any]) -> Any:
    if instances and all(isinstance(instance, dict) and list(instance) != ["b64"] for instance in instances):
        import pandas as pd

        return pd.DataFrame(instances)
    if instances and isinstance(instances[0], list):
        import numpy as np

        return np.asarray(instances)
    return [_bytes_of(instance) if _is_binary(instance) else instance for instance in instances]


class _Table:
    """Makes a DataFrame with the columns, and the types, that the model was trained with."""

    def __init__(self, signature: Signature):
        import pandas as pd

        self._signature = signature
        self._pandas = pd

    def __call__(self, instances: list[Any]) -> Any:
        by_column = self._signature.by_column(instances)
        columns = {column.name: self._values(column, by_column[column.name]) for column in self._signature.columns}
        # Without `columns`, for which pandas makes a Series of each: four times the time for one row.
        return self._pandas.DataFrame(columns, copy=False)

    def _values(self, column: Column, values: list[Any]) -> Any:
        import numpy as np

        pd, dtype = self._pandas, column.dtype
        of_numpy = "[" not in dtype and not dtype[:1].isupper() and dtype != "boolean"  # else of pandas or pyarrow
        try:
            if column.type == "datetime":
                return self._dates(values, dtype)
            if dtype == "category":
                levels = [*column.levels, *sorted({*values} - {*column.levels, None}, key=str)]
                return pd.Categorical(values, categories=levels, ordered=column.ordered)
            if column.type == "number" and of_numpy and dtype.startswith("float"):
                return np.array(values, dtype=dtype)  # None becomes NaN
            if column.type in ("integer", "boolean") and None not in values and of_numpy:
                return np.array(values, dtype=dtype)
            if column.type == "integer" and of_numpy and dtype.startswith(("int", "uint")):
                return np.array(values, dtype="float64")  # these types have no missing value: None becomes NaN
            if dtype == "object":
                array = np.empty(len(values), dtype=object)
                array[:] = values
                return array
            return pd.Series(values, dtype=dtype or None)
        except (TypeError, ValueError) as error:
            raise RequestError(f"column `{column.name}` cannot be read as {dtype or column.type}: {error}") from None

    def _dates(self, values: list[Any], dtype: str) -> Any:
        """Return dates of texts, each of which may be written in its own way, such as with a time or without."""
        pd = self._pandas
        texts = pd.Series(values, dtype=object)
        if texts.isna().all():
            return pd.Series(values, dtype=dtype)
        try:
            return pd.to_datetime(texts, format="ISO8601").astype(dtype)
        except ValueError:
            return pd.to_datetime(texts, format="mixed").astype(dtype)


class _Array:
    """Makes an array of the shape and type that the model was trained with; a picture may come as its file."""

    def __init__(self, signature: Signature):
        import numpy as np

        self._np = np
        self._shape = signature.shape
        self._dtype = None if signature.dtype.startswith(("str", "object", "bfloat")) else signature.dtype

    def __call__(self, instances: list[Any]) -> Any:
        if any(_is_binary(instance) for instance in instances):
            instances = [self._picture(n, one) if _is_binary(one) else one for n, one in enumerate(instances)]
        try:
            array = self._np.array(instances, dtype=self._dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(self._refused(instances) or str(error)) from None
        if array.shape[1:] != self._shape and len(instances):
            raise RequestError(self._refused(instances) or f"the instances have the shape {array.shape[1:]}")
        return array

    def _refused(self, instances: list[Any]) -> str:
        for number, instance in enumerate(instances):
            try:
                shape = self._np.array(instance, dtype=self._dtype).shape
            except (TypeError, ValueError, OverflowError) as error:
                return f"instance {number} does not hold {self._dtype or 'numbers'} only: {error}"
            if shape != self._shape:
                return f"instance {number} has the shape {_shown(shape)}, the model takes {_shown(self._shape)}"
        return ""

    def _picture(self, number: int, instance: Any) -> Any:
        from PIL import Image, UnidentifiedImageError

        if len(self._shape) not in (2, 3):
            raise RequestError(f"instance {number} is a file, the model takes {_shown(self._shape)} numbers")
        try:
            picture = Image.open(io.BytesIO(_bytes_of(instance, number)))
        except UnidentifiedImageError:
            raise RequestError(f"instance {number} is not a picture") from None
        mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(self._shape[2] if len(self._shape) == 3 else 1, "RGB")
        array = self._np.asarray(picture.convert(mode).resize((self._shape[1], self._shape[0])))
        return array.reshape(self._shape)


class _Texts:
    def __init__(self, signature: Signature):
        self._signature = signature

    def __call__(self, instances: list[Any]) -> Any:
        self._signature.check_texts(instances)
        return instances


def decoded(instances: list[Any]) -> list[bytes]:
    """Return the bytes of instances that are `{"b64": "..."}`."""
    for number, instance in enumerate(instances):
        if not _is_binary(instance):
            raise RequestError(f'instance {number} is not {{"b64": "..."}}')
    return [_bytes_of(instance, number) for number, instance in enumerate(instances)]


def _is_binary(instance: Any) -> bool:
    return isinstance(instance, dict) and list(instance) == ["b64"]


def _bytes_of(instance: dict[str, Any], number: int = 0) -> bytes:
    try:
        return base64.b64decode(instance["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise RequestError(f"instance {number} is not base64: {error}") from None


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "one number"
