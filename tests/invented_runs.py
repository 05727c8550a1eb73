"""Runs for the dashboard's tests, kept in memory: any number, the same each time, and changed as a test likes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edge_tasks.dashboard.records import Described, Details, Row, output_piece
from edge_tasks.domain.runs import RunRecord, Series
from edge_tasks.errors import EdgeError, NotFoundError

BEGIN = datetime(2026, 11, 20, 8, 0, tzinfo=timezone.utc)

_SOURCE = """from sacred import Experiment

ex = Experiment("digits")


@ex.automain
def run(_run, learning_rate, depth):
    for step in range(100):
        _run.log_scalar("loss", 1 / (step + 1), step)
"""


_CONFUSION = b"actual,predicted\n" + b"".join(
    f"{actual},{predicted}\n".encode() * (41 if actual == predicted else 2 + (actual * predicted) % 3)
    for actual in range(5)
    for predicted in range(5)
)
_CURVE = b"fpr,tpr\n" + b"".join(f"{step / 20:.2f},{(step / 20) ** 0.3:.4f}\n".encode() for step in range(21))
_IMAGE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 80"><rect width="120" height="80" fill="#e8f0fd"/>'
    b'<path d="M60 12 30 44M60 12 90 44M30 44 18 68M30 44 42 68" stroke="#2563d9" fill="none" stroke-width="3"/></svg>'
)


def invented_row(number: int) -> Row:
    """The run with this number; later numbers started later."""
    chance = random.Random(number)
    started = BEGIN + timedelta(minutes=7 * number, seconds=chance.randrange(60))
    learning_rate = round(10 ** chance.uniform(-4, -1), 6)
    depth = chance.choice([2, 4, 6, 8])
    loss = 0.08 + abs(math.log10(learning_rate) + 2.4) * 0.21 + chance.gauss(0, 0.02) + 0.2 / depth
    status = chance.choices(["completed", "failed", "interrupted", "died"], [90, 6, 3, 1])[0]
    good = status == "completed"
    error = {"failed": "ValueError: Input X contains NaN."}.get(status)
    return Row(
        id=f"{started:%Y%m%d-%H%M%S}-{chance.getrandbits(32):08x}",
        model=chance.choice(["digits", "digits", "digits", "churn"]),
        status=status,
        created=started.isoformat(),
        started=started.isoformat(),
        ended=(started + timedelta(seconds=chance.uniform(8, 400))).isoformat(),
        heartbeat=(started + timedelta(seconds=8)).isoformat(),
        user=chance.choice(["ada", "grace", "edsger"]),
        host=chance.choice(["laptop", "ci-3", "vertex"]),
        target="local",
        job=f"projects/p/locations/r/customJobs/{number}" if chance.random() < 0.4 else None,
        commit=f"{chance.getrandbits(160):040x}",
        dirty=chance.random() < 0.3,
        data=f"{chance.getrandbits(64):016x}",
        version=str(number) if good else None,
        error=error,
        parameters={
            "learning_rate": learning_rate,
            "depth": depth,
            "optimizer": chance.choice(["adam", "sgd", "lbfgs"]),
            "hidden": [64, chance.choice([16, 32])],
            "seed": chance.randrange(10**6),
        },
        metrics={"accuracy": round(1 - loss / 2, 5), "loss": round(loss, 5), "f1": round(0.98 - loss / 2, 5)}
        if good
        else {},
    )


class InventedRuns:
    """Records in memory."""

    def __init__(self, amount: int):
        self._rows = {row.key: row for row in map(invented_row, range(amount))}
        self.outputs: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.plots: dict[str, bytes] = {"confusion.csv": _CONFUSION, "roc.csv": _CURVE, "tree.svg": _IMAGE}
        self.problem: EdgeError | None = None
        self.readings = 0

    def change(self, row: Row, **changes: Any) -> Row:
        """Put a changed version in the place of a run."""
        self._rows[row.key] = replace(row, **changes)
        return self._rows[row.key]

    def add(self, row: Row) -> None:
        """Let another run begin."""
        self._rows[row.key] = row

    def drop(self, row: Row) -> None:
        """Remove a run."""
        del self._rows[row.key]

    def place(self) -> dict[str, Any]:
        return {"bucket": "gs://my-bucket/experiments", "models": ["digits", "churn"], "warning": None}

    def rows(self) -> Iterable[Row]:
        self.readings += 1
        if self.problem:
            raise self.problem
        return list(self._rows.values())

    def details(self, model: str, run_id: str, output_from: int) -> Details:
        row = self._row(model, run_id)
        begin = datetime.fromisoformat(row.created)
        chance = random.Random(run_id)
        steps = [float(step) for step in range(100)]
        final = float(row.metrics.get("loss", 0.6))
        losses = [final + (1.2 - final) * math.exp(-step / 18) + chance.gauss(0, 0.015) for step in steps]
        times = [(begin + timedelta(seconds=step / 2)).isoformat() for step in steps]
        curves = {
            "loss": losses,
            "accuracy": [1 - loss / 2 for loss in losses],
            "learning_rate": [0.1 * 0.97**step for step in steps],
        }
        lines = [f"epoch {step + 1:3}  loss {loss:.4f}" for step, loss in enumerate(losses)]
        output = self.outputs.get(row.key, "\n".join(lines) + "\n").encode()
        record = RunRecord(
            run_id=row.id,
            model_name=row.model,
            status=row.status.upper(),
            created=begin,
            data={"data/digits.npz": "3f2b8c0e7f0b4b1d9f0a1c2d3e4f5a6b"},
            model_version=f"projects/p/locations/r/models/digits-1a2b3c4d@{row.version}" if row.version else None,
            environment={"python": "3.10.13", "scikit-learn": "1.6.1"},
            trace=f'Traceback (most recent call last):\n  File "train.py", line 9, in run\n{row.error}'
            if row.error
            else None,
            sources={"train.py": len(_SOURCE)},
            plots={name: len(content) for name, content in self.plots.items()},
            notes=self.notes.get(row.key),
            machine={"hostname": row.host, "os": ["Linux", "Linux-6.1.0-x86_64"], "cpu": "Xeon"},
        )
        series = {name: Series(steps=steps, values=list(values), timestamps=times) for name, values in curves.items()}
        system = {
            "CPU (%)": Series(steps=steps, values=[80 + 15 * math.sin(step / 9) for step in steps], timestamps=times),
            "memory (MB)": Series(steps=steps, values=[300 + 4 * step for step in steps], timestamps=times),
        }
        piece = output_piece(output[output_from:], output_from)
        return Details(record, series, piece, system, (("model.joblib", 48_211), ("signature.json", 812)))

    def attached(self, model: str, run_id: str, kind: str, name: str) -> bytes:
        self._row(model, run_id)
        if kind != "plots" or name not in self.plots:
            raise NotFoundError(f"the run has no file `{name}`")
        return self.plots[name]

    def artifact_file(self, model: str, run_id: str, name: str, folder: Path) -> Path:
        self._row(model, run_id)
        if name != "signature.json":
            raise NotFoundError(f"the model of the run has no file `{name}`")
        (folder / "file").write_bytes(b"<script>alert(1)</script>")
        return folder / "file"

    def describe(self, model: str, run_id: str, words: Described) -> None:
        row = self._row(model, run_id)
        if words.name is not None:
            row = self.change(row, name=words.name or None)
        if words.tags is not None:
            self.change(row, tags=words.tags)
        if words.notes is not None:
            self.notes[row.key] = words.notes

    def remove(self, model: str, run_id: str) -> None:
        self.drop(self._row(model, run_id))

    def file(self, model: str, run_id: str, name: str) -> str:
        self._row(model, run_id)
        if name != "train.py":
            raise NotFoundError(f"the run has no file `{name}`")
        return _SOURCE

    def _row(self, model: str, run_id: str) -> Row:
        try:
            return self._rows[f"{model}/{run_id}"]
        except KeyError:
            raise NotFoundError(f"there is no run `{run_id}` of `{model}`") from None
