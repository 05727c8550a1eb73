"""What filters of runs mean: one table for the command line (test_run_text) and for the page (test_dashboard_page)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from edge_tasks.domain.runs import COMPLETED, FAILED, RUNNING, RunSummary

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


def _run(run_id: str, **values: Any) -> RunSummary:
    known = {"model_name": "wine", "status": COMPLETED, "created": NOW, "started": NOW, "ended": NOW}
    return RunSummary(**{"run_id": run_id, **known, **values})


FILTERED = [
    _run("a", parameters={"rate": 0.1, "kernel": "rbf", "deep": {"layers": 3}, "hidden": [64, 32]},
         metrics={"score": 0.9}, commit="abcdef1234", name="First try"),
    _run("b", parameters={"rate": 0.2, "kernel": "rbf", "flag": True}, metrics={"score": 0.95, "loss": 1e-5},
         user="Ada", ended=NOW + timedelta(minutes=11), model_version="projects/p/locations/r/models/m@12"),
    _run("c", parameters={"rate": 1, "kernel": "linear", "score": 7}, metrics={"score": "NaN"}, tags=("good", "old"),
         started=NOW - timedelta(days=3), created=NOW - timedelta(days=3)),
    _run("d", model_name="cats", status=FAILED, error="ValueError: Input X contains NaN.", user="bob",
         parameters={"path": "data (old)/x"}, started=None, ended=None),
    _run("e", model_name="cats", status=RUNNING, started=NOW, heartbeat=NOW - timedelta(hours=1), ended=None),
]  # fmt: skip

# A filter, and the runs that it shows.
CHOSEN = [
    ("", "abcde"),
    ("score>0.9", "b"),
    ("score >= 0.9", "ab"),
    ("score<1", "ab"),
    ("score!=0.9", "bc"),
    ("score=NaN", "c"),
    ("metrics.score < 1e0", "ab"),
    ("parameters.score = 7", "c"),
    ("rate=1.0", "c"),
    ("rate = +.2", "b"),
    ("kernel=rbf", "ab"),
    ("kernel = RBF", "ab"),
    ("kernel!=rbf", "c"),
    ("kernel>0", ""),
    ("kernel ~ lin", "c"),
    ("deep.layers==3", "a"),
    ("hidden = [64, 32]", "a"),
    ("flag=true", "b"),
    ("flag=True", "b"),
    ("flag=1", ""),
    ("RATE > 0.15", "bc"),
    ("-kernel=rbf", "cde"),
    ("-loss>0", "acde"),
    ("loss ~ 0.00001", "b"),
    ("status=failed", "d"),
    ("status != completed", "de"),
    ("status = DIED", "e"),
    ("user=ada", "b"),
    ("user > ada", "d"),
    ("model=cats -status=died", "d"),
    ("commit=abc", "a"),
    ("commit=bcd", ""),
    ("run=a", "a"),
    ("tags ~ old", "c"),
    ("version >= 12", "b"),
    ("took > 10m", "bc"),
    ("took<=660", "abe"),
    ("started < 2026-11-20T00:00Z", "c"),
    ("started >= 2026-11-22T12:00Z", "abe"),
    ('name = "first try"', "a"),
    ("contains", "d"),
    ("linear", "c"),
    ("hidden=[64,32]", "a"),
    ('"Input X"', "d"),
    ('path = "data (old)/x"', "d"),
    ("rbf -adam user=ada", "b"),
    ("path ~ old cats", "d"),
]

_DATE = "a date such as 2026-11-20 or 2026-11-20T10:00Z"
_STATUSES = "queued, running, completed, failed, interrupted, died"

# A filter that is refused, and the sentence that says why.
REFUSED = [
    ("C >> 4 (", "character 4 of the filter: a value is expected, and there is `>`"),
    ("score >", "character 8 of the filter: a value is expected, and there is nothing"),
    ("score > 4 (", "character 11 of the filter: a word is expected, and there is `(`"),
    ("> 4", "character 1 of the filter: a name is expected before `>`"),
    ("rate=0.1=2", "character 9 of the filter: a name is expected before `=`"),
    ('kernel="rbf', "character 8 of the filter: the quotation mark is not closed"),
    ("-", "character 2 of the filter: a word is expected, and there is nothing"),
    ("scoer > 1", "no run has `scoer`"),
    ("score > high", "character 9 of the filter: `score` is a number, which `high` is not"),
    ("took > soon", "character 8 of the filter: `took` is a time such as 90s, 10m or 2h, which `soon` is not"),
    ("started > friday", f"character 11 of the filter: `started` is {_DATE}, which `friday` is not"),
    ("status = done", f"character 10 of the filter: a status is one of {_STATUSES}, which `done` is not"),
]
