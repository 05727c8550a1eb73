"""A table as pandas writes it, as the instances of a model whose signature has columns, or that takes texts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.domain.signature import TEXTS, Column, RequestError, Signature
from edge_tasks.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def as_json_lines(path: Path, signature: Signature) -> bytes:
    """Return the rows of a CSV file as JSON objects, one a line, with the columns' types; an empty cell is null.

    Of a model that takes texts they are the texts in the file's only column. Columns that the model does not have stay,
    as texts, so that rows are known again. Raises DataError that names the line and the column of a value that cannot
    be what the model takes.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or ())
        if signature.form == TEXTS:
            file.seek(0)
            return b"".join(_json_line(text) for text in _texts(path, csv.reader(file)))
        _check_separator(path, header, signature)
        missing = [column.name for column in signature.columns if column.name not in header and not column.optional]
        if missing:
            raise DataError(
                f"`{path}` has no column `{missing[0]}`",
                f"its header must name what the model takes: {_names(signature)}",
            )
        return b"".join(_json_line(row) for row in _rows(path, reader, signature))


def _json_line(instance: Any) -> bytes:
    return json.dumps(instance, ensure_ascii=False).encode() + b"\n"


def _texts(path: Path, reader: CsvReader) -> Iterator[str]:
    """Yield the cells below the header of a file of one column."""
    for number, row in enumerate(reader):
        if len(row) > 1:
            raise DataError(
                f"`{path}`, line {reader.line_num} has {len(row)} columns; the model takes one text",
                "keep the column of texts alone, in quotation marks where a text has a comma",
            )
        if number:
            yield from row


def _check_separator(path: Path, header: Sequence[str], signature: Signature) -> None:
    """Raise DataError for columns that no commas separate: each would be missing, which an optional one may be."""
    names = {column.name for column in signature.columns}
    for mark, shown in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and names & {cell.strip('" ') for cell in header[0].split(mark)} and mark in header[0]:
            raise DataError(
                f"`{path}` separates its columns by {shown}, not by commas",
                f'pd.read_csv("{path.name}", sep={mark!r}).to_csv("{path.name}", index=False)',
            )


def check_words_are_quoted(path: Path) -> None:
    """Raise DataError for the first word without quotation marks, which Vertex AI would take for a number.

    https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions#csv
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        next(csv.reader(file), None)
        reader = csv.reader(file, quoting=csv.QUOTE_NONNUMERIC)
        while True:
            try:
                if next(reader, None) is None:
                    return
            except ValueError as error:  # noqa: PERF203  each line has its number
                word = str(error).partition(": ")[2].strip("'")
                if word:
                    raise DataError(
                        f"`{path}`, line {reader.line_num + 1}: `{word}` is a word without quotation marks, "
                        "and this model has no signature that says what its columns are",
                        "write it with DataFrame.to_csv(..., quoting=csv.QUOTE_NONNUMERIC), or train with "
                        "save_results(..., inputs=X_train)",
                    ) from None


def _rows(path: Path, reader: csv.DictReader[str], signature: Signature) -> Iterator[dict[str, Any]]:
    columns = {column.name: column for column in signature.columns}
    for cells in reader:
        row: dict[str, Any] = {}
        for name, text in cells.items():
            if name is None:
                raise DataError(f"`{path}`, line {reader.line_num} has more cells than the header", "fix that line")
            column = columns.get(name)
            try:
                row[name] = _value(column, text) if column else text
                if column:
                    column.check([row[name]])
            except (ValueError, RequestError):
                shown = f"is `{text}`" if text else "is empty"
                kind = column.shown_type if column else "a text"
                raise DataError(
                    f"`{path}`, line {reader.line_num}: column `{name}` {shown}, not {kind}", "fix that line"
                ) from None
        yield row


def _value(column: Column, text: str | None) -> Any:
    if text is None or not text.strip() or (text in ("NaN", "nan", "NA") and column.type != "string"):
        return None
    if column.type == "integer":
        number = float(text)
        return int(number) if number.is_integer() else number
    if column.type == "number":
        return float(text)
    if column.type == "boolean":
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    return text


def _names(signature: Signature) -> str:
    return ", ".join(column.name for column in signature.columns)
