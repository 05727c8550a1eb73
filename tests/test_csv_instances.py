"""A table as the instances of a batch prediction: what is refused before it is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tasks.domain.signature import TABLE, TEXTS, Column, Signature
from edge_tasks.errors import DataError
from edge_tasks.jobs.batch_prediction import check_input
from edge_tasks.jobs.csv_instances import as_json_lines

# In the sample of the training both had gaps, so that a request may leave them out.
SIGNATURE = Signature(
    TABLE,
    columns=(
        Column("Größe (cm)", "number", optional=True, dtype="float64"),
        Column("Stadt", "string", optional=True, dtype="object"),
    ),
)


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_columns_that_no_commas_separate_are_not_missing_ones(tmp_path: Path, mark: str, word: str) -> None:
    path = tmp_path / "kunden.csv"
    for header in ("Größe (cm){}Stadt", '"Größe (cm)"{}"Stadt"'):
        path.write_text(f"{header.format(mark)}\n1.5{mark}Köln\n", encoding="utf-8")
        with pytest.raises(DataError, match=f"kunden.csv` separates its columns by {word}, not by commas") as error:
            as_json_lines(path, SIGNATURE)
        assert f'pd.read_csv("kunden.csv", sep={mark!r}).to_csv("kunden.csv", index=False)' in str(error.value.hint)


def test_a_table_with_some_of_the_columns_is_one(tmp_path: Path) -> None:
    path = tmp_path / "kunden.csv"
    path.write_text("Stadt,a;b\nKöln,1\n", encoding="utf-8")
    assert json.loads(as_json_lines(path, SIGNATURE)) == {"Stadt": "Köln", "a;b": "1"}
    path.write_text("Stadt\nKöln;Bonn\n", encoding="utf-8")
    assert json.loads(as_json_lines(path, SIGNATURE)) == {"Stadt": "Köln;Bonn"}


def test_a_table_in_another_encoding_is_told_how_to_be_saved_in_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "kunden.csv"
    path.write_text("Größe (cm),Stadt\n1.5,Köln\n", encoding="latin1")
    with pytest.raises(DataError, match="cannot be read: it is not UTF-8 text") as error:
        check_input(path)
    assert str(error.value.hint).endswith(f"iconv -f latin1 -t utf-8 {path}")


def test_a_column_of_texts_is_what_a_model_of_texts_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text('text\n"hello, you"\nkaputt\n"zwei\nZeilen"\n', encoding="utf-8")
    lines = as_json_lines(path, Signature(TEXTS)).decode().splitlines()
    assert [json.loads(line) for line in lines] == ["hello, you", "kaputt", "zwei\nZeilen"]
    assert check_input(path) == 3
    path.write_text("text,desk\nkaputt,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1 has 2 columns; the model takes one text"):
        as_json_lines(path, Signature(TEXTS))
    path.write_text(f"text\n{'x' * 200_000}\n", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read: field larger than"):
        check_input(path)
