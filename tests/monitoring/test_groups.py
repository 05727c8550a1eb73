"""What a model answers to groups, and how often it is wrong there; true answers that come later; the report."""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud.request_batch import Batch, text_of
from edge_tasks.domain.baseline import Baseline, columns_of, grouped, make_baseline
from edge_tasks.domain.config import Monitoring
from edge_tasks.domain.distributions import MISSING, OTHERS, describe
from edge_tasks.domain.groups import Answers, Grouping, Outcome, Tally, answer_of, are_numbers, share
from edge_tasks.errors import EdgeError
from edge_tasks.monitoring import bias, feedback, page, samples, text, watch
from edge_tasks.monitoring.feedback import Labels

NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
NOTHING = Monitoring()


def rows(amount: int, city: str = "York", answer: Any = "yes", day: int = 0) -> list[Batch]:
    asked = [[{"city": city, "customer": number}] for number in range(amount)]
    time = text_of(NOON + timedelta(days=day))
    ids = [f"{day}-{number}" for number in range(amount)]
    return [Batch(["1"] * amount, [time] * amount, ids, asked, [[answer]] * amount)]


def trained() -> Baseline:
    """A baseline of two cities, of which one is answered `yes` less often and more often wrongly."""
    inputs = [{"city": "York" if number % 4 else "Leeds"} for number in range(400)]
    answers = [{"prediction": "yes" if number % 4 else "no"} for number in range(400)]
    labels = ["yes" if number % 4 or number % 8 == 0 else "no" for number in range(400)]
    columns = columns_of(inputs)
    found = make_baseline(columns_of(inputs, answers), "its training")
    return replace(found, groups=grouped(columns, found.columns, answers, labels))


def test_wilson_s_interval_is_the_textbook_s() -> None:
    # https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm: 4 of 20 defects, 95 %.
    found = share(4, 20)
    assert found is not None
    assert found == pytest.approx((0.2, 0.0807, 0.4160), abs=1e-4)
    assert share(0, 10) == pytest.approx((0, 0, 0.2775), abs=1e-4)
    assert share(0, 0) is None


def test_an_interval_holds_the_true_value_in_95_of_100() -> None:
    chance = random.Random(1)
    held = 0
    for _ in range(1000):
        found = share(sum(chance.random() < 0.1 for _ in range(80)), 80)
        assert found is not None
        held += found.low <= 0.1 <= found.high
    assert held >= 930
    mean = Tally.of(chance.gauss(7, 2) for _ in range(4000)).mean
    assert mean is not None
    assert mean.low < 7 < mean.high
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * 2 / math.sqrt(4000), rel=0.1)


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("no", "no"), (3, 3), ([0.5], 0.5), ([0.5, 0.5], None), (None, None), ({"scores": [1, 2]}, None), ({}, None),
        ({"prediction": "no", "probabilities": {"no": 0.9, "yes": 0.1}}, "no"), ({"no": 0.1, "yes": 0.9}, "yes"),
    ],
)  # fmt: skip
def test_the_one_answer_in_a_prediction_is_found(prediction: Any, answer: Any) -> None:
    assert answer_of(prediction) == answer


def test_few_whole_numbers_are_classes_and_amounts_are_numbers() -> None:
    assert not are_numbers([0, 1, 1.0, None])
    assert not are_numbers(["a", 1])
    assert not are_numbers([None])
    assert are_numbers([0.5, 1])
    assert are_numbers(range(30))
    # JSON, and CSV, do not tell 1 from 1.0 everywhere.
    assert Outcome.of([1, 0, 1.0], [1.0, 1.0, 1], numeric=False).errors == Tally(3, 1, 1)
    amounts = Outcome.of([1.5, 2.5], [2.0, None], numeric=True)
    assert (amounts.errors, amounts.predicted.numbers.total) == (Tally(1, 0.5, 0.25), 4)


def test_many_numbers_are_grouped_by_fifths_and_few_by_value() -> None:
    many = Grouping(describe([float(number) for number in range(1000)]))
    groups = {many.of(value) for value in range(1000)}
    assert groups == {"below 200", "200 to 400", "400 to 600", "600 to 800", "from 800"}
    assert (many.of(None), many.of(-5), many.of(5000)) == (MISSING, "below 200", "from 800")
    few = Grouping(describe([1, 2, 3] * 10))
    assert [few.of(value) for value in (1, 3.0, 4)] == ["1", "3", OTHERS]
    assert not Grouping(describe([f"c{number}" for number in range(100)])).is_possible
    assert not Grouping(describe(["one"] * 100)).is_possible


def test_the_training_s_groups_come_back_from_baseline_json() -> None:
    baseline = replace(trained(), data={"data/churn.csv": "194216894f9f1a0f5663a42b644ebe7a"})
    assert Baseline.from_json(baseline.to_json()) == baseline
    leeds, york = baseline.groups["city"]["Leeds"], baseline.groups["city"]["York"]
    assert (leeds.rows, york.rows) == (100, 300)
    assert leeds.error is not None
    assert leeds.error.value == 0.5
    assert york.error is not None
    assert york.error.value == 0
    assert york.predicted == Answers(names={"yes": 300})


def test_groups_of_the_training_and_of_requests_stand_side_by_side() -> None:
    labels = Labels(by_request={("0-3", 0): "no"})
    found = bias.groups([*rows(10), *rows(5, "Hull")], trained(), labels, "city", NOTHING)
    columns, table = text.group_table(found)
    assert columns == ["group", "data", "rows", "predicted", "true", "errors"]
    assert [row[:3] for row in table] == [
        ["York", "training", "300"], ["York", "now", "10"], ["Leeds", "training", "100"], [OTHERS, "now", "5"],
    ]  # fmt: skip
    assert table[0][3:] == ["no 0% (0 to 1%)", "no 0% (0 to 1%)", "0% (0 to 1%)"]
    assert table[1][4:] == ["no 100% (21 to 100%)", "100% (21 to 100%)"]
    document = text.groups_document(found)
    assert document["now"]["York"]["errors"] == pytest.approx([1, 1, 0.2065, 1], abs=1e-3)


def test_of_a_baseline_without_groups_the_sizes_are_known() -> None:
    baseline = make_baseline({"city": ["York"] * 30 + ["Leeds"] * 10 + [None]}, "training.csv")
    found = bias.groups(rows(3), baseline, Labels(), "city", NOTHING)
    assert {name: outcome.rows for name, outcome in found.before.items()} == {"York": 30, "Leeds": 10, MISSING: 1}


@pytest.mark.parametrize(
    ("column", "settings", "problem"),
    [
        ("town", NOTHING, "what is asked has no column `town`"),
        ("city", Monitoring(columns=["age"]), "`city` is not one of the columns that may be looked at"),
    ],
)
def test_a_column_that_cannot_be_looked_at_is_refused(column: str, settings: Monitoring, problem: str) -> None:
    with pytest.raises(EdgeError, match=problem):
        bias.groups(rows(3), trained(), Labels(), column, settings)


def test_only_the_columns_of_edge_yaml_are_compared_and_by_its_thresholds() -> None:
    ages = [float(number) for number in range(500)]
    columns: dict[str, list[Any]] = {"age": ages, "name": ["a", "b"] * 250, "prediction": [1, 2] * 250}
    settings = Monitoring(columns=["age", "agee"], thresholds={"age": 0.9})
    found = watch.compared("m", make_baseline(columns, "x"), {**columns, "age": [900.0] * 500}, settings)
    assert {one.column: one.threshold for one in found.comparisons}["age"] == 0.9
    assert {one.column for one in found.comparisons} == {"age", "prediction"}
    assert found.unknown == ["agee"]


def test_true_answers_are_joined_by_request_and_by_key(tmp_path: Path) -> None:
    file = tmp_path / "true.csv"
    # Ids of 62 bits do not fit floating-point numbers.
    file.write_text("request_id,instance,label\n4611686018427387903,0,yes\n4611686018427387903,1,no\n,0,yes\n")
    assert feedback.read_file(file, None, "label") == [
        {"request_id": "4611686018427387903", "instance": 0, "label": "yes"},
        {"request_id": "4611686018427387903", "instance": 1, "label": "no"},
    ]
    file.write_text("customer,left\n7,yes\n8,\n")
    assert feedback.read_file(file, "customer", "left") == [{"key": "customer", "value": "7", "label": "yes"}]
    labels = Labels(by_request={("5", 1): "no"}, by_key={"customer": {"7": "yes"}})
    asked = [{"customer": 7}, {"customer": 7.0}, {"customer": 9}, [7]]
    assert labels.of_batch(Batch(["1"], [text_of(NOON)], ["5"], [asked], [["a"] * 4])) == ["yes", "no", None, None]


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff{", b"{}", b'{"format_version": 1, "columns": "x"}'])
def test_a_file_that_is_not_a_baseline_is_told_with_what_may_be_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "baseline.json").write_bytes(content)
    with pytest.raises(EdgeError, match="it is not a baseline") as caught:
        samples.read_baseline(tmp_path / "baseline.json")
    assert caught.value.hint == "name a .csv, .jsonl or baseline.json file"


def test_truth_values_of_a_csv_file_are_those_of_requests(tmp_path: Path) -> None:
    file = tmp_path / "true.csv"
    file.write_text("customer,active,label\nC1,True,True\nC2,,FALSE\nC3,False,\n")
    known = describe([True, None, False])
    for column in (samples.read_columns(file)["active"], ["True", None, False]):
        assert known.like(column) == describe(column) == known
    labels = [row["label"] for row in feedback.read_file(file, "customer", "label")]
    assert Outcome.of([True, "True"], labels, numeric=False).errors == Tally(2, 1, 1)


@pytest.mark.parametrize(
    ("content", "key", "problem"),
    [
        ("a,label\n1,2\n", None, "has no column `request_id`"),
        ("request_id,b\n1,2\n", None, "has no column `label`"),
        ("request_id,label\n1,\n", None, "holds no labels"),
        ("request_id,instance,label\n1,half,x\n", None, "the instance `half` is not a whole number"),
    ],
)
def test_a_file_without_true_answers_is_refused(tmp_path: Path, content: str, key: str | None, problem: str) -> None:
    file = tmp_path / "true.csv"
    file.write_text(content)
    with pytest.raises(EdgeError, match=problem):
        feedback.read_file(file, key, "label")


def test_errors_are_shown_day_by_day() -> None:
    labels = Labels(by_request={("0-0", 0): "yes", ("0-1", 0): "no", ("1-0", 0): "yes"})
    days = feedback.by_day([*rows(3, day=1), *rows(2)], labels)
    columns, table = text.day_table(days)
    assert columns[:4] == ["day", "answered", "labels", "errors"]
    assert [row[:4] for row in table] == [
        ["2026-11-27", "2", "2", "50% (9 to 91%)"], ["2026-11-28", "3", "1", "0% (0 to 79%)"],
    ]  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page, and its attributes that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.dangerous: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        loading = {"src", "href", "srcset", "action", "formaction", "data", "poster", "xlink:href"}
        self.dangerous += [one for one in attrs if one[0] in loading or one[0].startswith("on")]


def test_the_report_loads_nothing_and_nothing_in_the_data_is_markup() -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>&\x1b[31m\u202e'
    ages = [float(number) for number in range(600)]
    columns: dict[str, list[Any]] = {evil: [evil, "b"] * 300, "age": ages, "prediction": [evil] * 600}
    baseline = make_baseline(columns, evil)
    now = {**columns, "age": [value + 300 for value in ages]}
    found = watch.compared(evil, baseline, now, NOTHING)
    batch = Batch(["1"], [text_of(NOON)], ["1"], [[{evil: evil}]], [[evil]])
    groups = bias.groups([batch], baseline, Labels(), evil, NOTHING)
    html = page.page(replace(found, since=NOON, until=NOON), groups, {"2026-11-27": Outcome(1)})
    parsed = Tags()
    parsed.feed(html)
    assert not parsed.dangerous
    assert not parsed.tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "foreignobject"}
    assert "default-src 'none'" in html
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    # Two bars for each bin that has values, with their shares as titles.
    assert len(re.findall(r"<rect ", html)) == len(re.findall(r"%\s(before|now)</title>", html)) > 20


def test_a_bin_of_dates_is_named_by_its_first_one() -> None:
    since = [f"20{year:02}-{month:02}-01" for year in range(20, 25) for month in range(1, 13)] * 10
    found = watch.compared("m", make_baseline({"since": since}, "x"), {"since": since}, NOTHING)
    assert "median 2022-01-01 to 2022-07-01" in " ".join(text.table(found)[1][0])
    labels = re.findall(r"<text [^>]*>(2[^<]*)</text>", page.page(found))
    assert labels[:3] == ["2020-01-01", "2020-07-01", "2021-01-01"]


def test_the_report_in_markdown_names_nobody_and_links_nowhere() -> None:
    evil = "@ada [x](http://y) <b>|`code`\n# Title #1"
    columns = {evil: ["a", "b"] * 300}
    found = watch.compared("m", make_baseline(columns, evil), {evil: ["c"] * 600}, NOTHING)
    written = text.markdown(found)
    assert not re.search(r"[@<\[]|\n# ", written)
    assert written.count("\n|") == 3
    assert "&#64;ada" in written
    assert json.dumps(text.document(found))
