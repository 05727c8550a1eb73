"""Models, endpoints, jobs, pipelines and drift that never were, around invented runs: for the dashboard's tests."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from edge_tasks.dashboard.loop import Section
from edge_tasks.dashboard.records import Row
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import CloudError, EdgeError, NotFoundError
from tests.invented_runs import InventedRuns

SIGNATURE = {
    "format_version": 1,
    "form": "table",
    "columns": [
        {"name": "age", "type": "integer", "minimum": 18, "maximum": 93, "dtype": "int64"},
        {"name": "plan", "type": "string", "categories": ["basic", "family", "prime"], "dtype": "object"},
        {"name": "monthly_fee", "type": "number", "optional": True, "dtype": "float64"},
        {"name": "roams", "type": "boolean", "dtype": "bool"},
    ],
    "example": {"age": 41, "plan": "family", "monthly_fee": 24.5, "roams": False},
    "output": {"form": "class", "classes": ["leaves", "stays"]},
}


class InventedLoop:
    """Each model of the runs has an endpoint; its last completed run serves, the one before is a canary."""

    def __init__(self, runs: InventedRuns, versions: int = 1000, pipelines: bool = True):
        self._runs = runs
        self._most = versions
        self._pipelines = pipelines
        self.problem: EdgeError | None = None
        self.asked: list[bytes] = []

    def section(self, name: str) -> Section:
        if self.problem:
            return Section(None, None, self.problem)
        content: dict[str, Any] = getattr(self, f"_{name}_section")()
        return Section(content, utc_now().isoformat())

    def _of(self, model: str) -> list[Row]:
        rows = [row for row in self._runs.rows() if row.model == model and row.version]
        return sorted(rows, key=lambda row: row.created, reverse=True)[: self._most]

    def _names(self) -> list[str]:
        return sorted({row.model for row in self._runs.rows()})

    def _deployment(self, row: Row, role: str) -> dict[str, Any]:
        return {
            "id": f"{row.version or 0:>019}",
            "version": row.version,
            "model": f"projects/p/locations/r/models/{row.model}-1a2b3c4d@{row.version}",
            "role": role,
            "at": row.ended,
            "by": row.user,
            "run": row.id,
            "commit": row.commit,
            "dirty": row.dirty,
            "data": {"data/digits.npz": "3f2b8c0e7f0b4b1d9f0a1c2d3e4f5a6b"},
            "metrics": row.metrics,
            "parameters": row.parameters,
            "job": row.job,
        }

    def _serving(self, model: str) -> list[dict[str, Any]]:
        rows = self._of(model)[:2]
        return [self._deployment(row, role) for row, role in zip(rows[::-1], ("stable", "canary"), strict=False)]

    def _models_section(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "name": name,
                    "endpoint": f"{name}-endpoint",
                    "versions": [
                        {
                            "version": row.version,
                            "name": f"projects/p/locations/r/models/{name}-1a2b3c4d@{row.version}",
                            "created": row.ended,
                            "run": row.id,
                            "commit": (row.commit or "")[:12],
                            "dirty": row.dirty,
                            "data": row.data,
                            "aliases": ["default"] if number == 0 else [],
                            "artifact": f"gs://my-bucket/vertex/{name}/{row.id}/output/model",
                            "image": "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
                        }
                        for number, row in enumerate(self._of(name))
                    ],
                    "serving": self._serving(name),
                    "coming": None,
                    "history": [self._deployment(row, "stable") for row in self._of(name)[1:12:3]],
                }
                for name in self._names()
            ]
        }

    def _endpoints_section(self) -> dict[str, Any]:
        shares = {"stable": 90, "canary": 10}
        found = []
        for name in self._names():
            serving = self._serving(name)
            found.append(
                {
                    "model": name,
                    "name": f"projects/p/locations/r/endpoints/{name}",
                    "display_name": f"{name}-endpoint",
                    "url": f"http://127.0.0.1:8090/v1/projects/p/locations/r/endpoints/{name}:predict",
                    "versions": [
                        {
                            **one,
                            "traffic": shares[one["role"]] if len(serving) > 1 else 100,
                            "machine": "n1-standard-2",
                            "replicas": [1, 3],
                        }
                        for one in serving
                    ],
                    "coming": None,
                    "log": {"enabled": True, "rate": 1.0, "table": "bq://p.edge.request_response_logging"},
                    "configured": True,
                }
            )
        change = {"at": self._last(), "by": "ada", "command": "invoke model.deploy", "what": ["digits: version 3 -> 4"]}
        return {"endpoints": found, "lock": {"who": "grace on ci-3 (process 71)", "stale": False}, "changes": [change]}

    def _last(self) -> str:
        return max((row.created for row in self._runs.rows()), default=utc_now().isoformat())

    def _jobs_section(self) -> dict[str, Any]:
        states = {"completed": "succeeded", "interrupted": "cancelled"}
        jobs: list[dict[str, Any]] = [
            {
                "job": row.job.rpartition("/")[2],
                "name": row.job,
                "kind": "training",
                "model": row.model,
                "state": states.get(row.status, "failed"),
                "created": row.created,
                "started": row.started,
                "ended": row.ended,
                "run": row.id,
                "error": row.error,
                "batch": None,
            }
            for row in sorted(self._runs.rows(), key=lambda row: row.created, reverse=True)
            if row.job
        ]
        batch = {"version": "4", "successful": 9_998, "failed": 2, "output": "gs://my-bucket/vertex/digits/batch/7/out"}
        more = {"job": "77", "name": "projects/p/locations/r/batchPredictionJobs/77", "kind": "batch prediction"}
        times = {"created": self._last(), "started": self._last(), "ended": self._last()}
        if jobs:
            jobs.insert(0, {**more, **times, "model": "digits", "state": "succeeded", "run": None, "error": None,
                            "batch": batch})  # fmt: skip
        return {"jobs": jobs}

    def _pipelines_section(self) -> dict[str, Any]:
        if not self._pipelines:
            return {"served": False, "pipelines": []}
        begin = datetime.fromisoformat(self._last())
        plan = [
            ("prepare", [], "succeeded"),
            ("train", ["prepare"], "succeeded"),
            ("baseline", ["prepare"], "succeeded"),
            ("evaluate", ["train", "baseline"], "running"),
            ("deploy", ["evaluate"], "pending"),
        ]
        tasks = [
            {
                "name": name,
                "title": name,
                "after": after,
                "state": state,
                "started": (begin + timedelta(minutes=place)).isoformat() if state != "pending" else None,
                "ended": (begin + timedelta(minutes=place, seconds=50)).isoformat() if state == "succeeded" else None,
                "error": None,
            }
            for place, (name, after, state) in enumerate(plan)
        ]
        job = {
            "id": "churn-weekly-20261123080000",
            "name": "churn-weekly",
            "state": "running",
            "created": begin.isoformat(),
            "started": begin.isoformat(),
            "ended": None,
            "error": None,
            "labels": {},
            "parameters": {"rows": 10_000, "target": "left"},
            "tasks": tasks,
        }
        return {"served": True, "pipelines": [job]}

    def _monitoring_section(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "model": name,
                    "enabled": True,
                    "rate": 1.0,
                    "table": "bq://p.edge.request_response_logging",
                    "window": "1d",
                    "fewest": 200,
                    "on_drift": "issue",
                    "notes": [{"version": "4", "columns": ["age"], "issue": "12", "at": "2026-11-24T08:00:00Z"}],
                }
                for name in self._names()
            ]
        }

    def job_log(self, job_id: str, first: int) -> dict[str, Any]:
        if job_id == "77":
            return {"lines": [], "next": 0, "done": True}
        if not any((row.job or "").endswith(f"/{job_id}") for row in self._runs.rows()):
            raise NotFoundError(f"there is no job `{job_id}`")
        lines = [
            {"text": f"epoch {step + 1}  loss {1 / (step + 1):.4f}", "severity": "INFO", "time": self._last()}
            for step in range(40)
        ]
        return {"lines": lines[first:], "next": len(lines), "done": True}

    def watched(self, model: str) -> dict[str, Any]:
        if model not in self._names():
            raise NotFoundError(f"there is no model `{model}`")
        chance = random.Random(model)
        edges = [20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
        before = [chance.randrange(40, 200) for _ in range(7)]
        now = [max(0, count + chance.randrange(-60, 160) * place // 3) for place, count in enumerate(before)]
        plans = {"basic": 420, "family": 300, "prime": 150}
        return {
            "model": model,
            "against": "its training",
            "requests": 870,
            "verdict": "`age` has changed against its training",
            "changed": ["age"],
            "since": "2026-11-23T08:00:00+00:00",
            "until": "2026-11-24T08:00:00+00:00",
            "fewest": 200,
            "columns": [
                {
                    "column": "age", "measure": "jensen_shannon", "distance": 0.21, "threshold": 0.03,
                    "verdict": "changed",
                    "before": {"kind": "number", "edges": edges, "counts": before},
                    "now": {"kind": "number", "edges": edges, "counts": now},
                },
                {
                    "column": "plan", "measure": "l_infinity", "distance": 0.02, "threshold": 0.05, "verdict": "same",
                    "before": {"kind": "category", "categories": plans},
                    "now": {"kind": "category", "categories": {**plans, "student": 12}},
                },
                {
                    "column": "since", "measure": "jensen_shannon", "distance": 0.01, "threshold": 0.03,
                    "verdict": "same",
                    "before": {"kind": "date", "edges": [1735689600.0, 1741564800.0], "counts": [0, 400, 470]},
                    "now": {"kind": "date", "edges": [1735689600.0, 1741564800.0], "counts": [9, 400, 461]},
                },
                {
                    "column": "title", "measure": "jensen_shannon", "distance": 0.0, "threshold": 0.03,
                    "verdict": "same",
                    "before": {"kind": "number", "counts": [0], "missing": 870},
                    "now": {"kind": "number", "counts": [3], "missing": 867},
                },
            ],
        }  # fmt: skip

    def traffic(self, model: str) -> dict[str, Any]:
        chance = random.Random(model)
        versions = {}
        for one in self._serving(model):
            most = 40 if one["role"] == "stable" else 6
            steps = [chance.randrange(most // 2, most) for _ in range(60)]
            errors = 0 if one["role"] == "stable" else 3
            versions[one["id"]] = {
                "requests": sum(steps), "errors": errors, "by_status": {"2xx": sum(steps) - errors, "5xx": errors},
                "steps": steps, "median": 11.6, "slow": 38.2 if one["role"] == "stable" else 1240.0,
            }  # fmt: skip
        return {"minutes": 60, "versions": versions}

    def drifts(self, model: str) -> dict[str, Any]:
        versions = {}
        for one in self._serving(model):
            changed = ["age"] if one["role"] == "stable" else []
            versions[one["id"]] = {
                "requests": 870, "enough": True, "changed": changed, "columns": 2,
                "verdict": "`age` has changed against its training" if changed else "no column has changed",
                "farthest": {"column": "age", "distance": 0.21 if changed else 0.01, "threshold": 0.03},
            }  # fmt: skip
        return {"window": "1d", "versions": versions}

    def form(self, model: str) -> dict[str, Any]:
        serving = self._serving(model)
        if not serving:
            raise NotFoundError(f"the model `{model}` is not deployed", f"invoke model.deploy --name {model}")
        url = f"http://127.0.0.1:8090/v1/projects/p/locations/r/endpoints/{model}:predict"
        return {
            "model": model, "version": serving[0]["version"], "url": url, "google": False, "signature": SIGNATURE,
            "example": [SIGNATURE["example"]],
        }  # fmt: skip

    def ask(self, model: str, payload: bytes, explain: bool) -> dict[str, Any]:
        self.asked.append(payload)
        if b"refuse" in payload:
            raise CloudError("the endpoint answered 400: instance 0: column `age` is a text, not an integer")
        answer: dict[str, Any] = {"predictions": ["stays"], "deployedModelId": "4"}
        if explain:
            answer["explanations"] = [{"attributions": [{"featureAttributions": {"age": 0.3, "plan": -0.1}}]}]
        return {"answer": answer, "milliseconds": 12}
