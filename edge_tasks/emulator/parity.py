"""What of the Vertex AI API is emulated: every RPC of the SDK's own route table, and what is missing of some.

    python -m edge_tasks.emulator.parity [--markdown | --json]

Whether an RPC is emulated is read from the emulator itself, so only what is missing of one has to be written down.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_tasks.emulator.emulator import Emulator
from edge_tasks.emulator.runtime.job_environment import Servers
from edge_tasks.emulator.schema import surface as schema
from edge_tasks.emulator.store.database import Database

EMULATED, PARTIAL, ABSENT = "emulated", "partial", "absent"

_ONE_MACHINE = "all replicas on this machine; images other than prebuilt training and plain python ones need Docker"

# What is missing of an RPC that is emulated in part, by service and RPC.
LIMITS = {
    "JobService.CreateCustomJob": (
        f"{_ONE_MACHINE}; machines, networks, service accounts and persistent resources mean nothing; its tensorboard"
        " gets no logs"
    ),
    "JobService.CreateHyperparameterTuningJob": f"{_ONE_MACHINE}; no early stopping, no transfer learning",
    "JobService.CreateBatchPredictionJob": "jsonl and csv in, jsonl out, on Cloud Storage",
    "PipelineService.CreateTrainingPipeline": f"custom training only; {_ONE_MACHINE}; datasets without BigQuery",
    "PipelineService.CreatePipelineJob": (
        "IR 2.1 of kfp 2; images other than prebuilt training and plain python ones need Docker; nine of Google's"
        " operators; no extensions for Kubernetes, no template_uri alone"
    ),
    "ScheduleService.CreateSchedule": (
        "of pipeline jobs, in v1beta1 also of model monitors' jobs, not of notebooks; of many moments at once the"
        " newest hundred"
    ),
    "DatasetService.CreateDataset": "kept whatever the kind; nothing of BigQuery",
    "DatasetService.ExportData": "without filters of annotations; rows or items as they came, whatever the schema",
    "DatasetService.ImportData": "an item for each line of JSON Lines and CSV files; annotations stay in it",
    "EndpointService.CreateEndpoint": (
        "dedicated ones, and those of Private Service Connect, answer at the API's address, without TLS; peered ones at"
        " a path of this server; no service attachments"
    ),
    "EndpointService.DeployModel": (
        "one process, no autoscaling but to zero (v1beta1); images other than prebuilt ones need Docker"
    ),
    "EndpointService.MutateDeployedModel": "not to or from a min_replica_count of 0",
    "VizierService.CreateStudy": "stopping by median and by decay curve, not the convex one; no transfer learning",
    "IAMPolicy.SetIamPolicy": "of models and endpoints; kept, but nothing is forbidden to anyone",
    "IAMPolicy.GetIamPolicy": "of models and endpoints",
    "IAMPolicy.TestIamPermissions": "of models and endpoints; everything is permitted",
    "JobService.CreateModelDeploymentMonitoringJob": "raw features, training data in csv, jsonl and the emulator's "
    "tables; no attributions, no mail, no alert in a log",
    "ModelMonitoringService.CreateModelMonitor": "output_spec and notification_spec are kept: no files, no mail",
    "ModelMonitoringService.CreateModelMonitoringJob": "csv, jsonl, the emulator's tables, tabular datasets, batch "
    "predictions, request logs; no attributions, no queries of BigQuery, no TFRecord; writes no files",
    "PredictionService.Explain": "sampled Shapley only, of models that predict numbers",
    "PredictionService.Predict": "requests are logged as files, since there is no BigQuery",
}


@dataclass(frozen=True)
class Row:
    """One RPC: `limit` says what is missing when `status` is partial."""

    service: str
    rpc: str
    status: str
    limit: str


def rows() -> list[Row]:
    """Return a row for each RPC, by service and name."""
    surface = schema.load()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "store.sqlite3", surface)
        emulator = Emulator(database, surface, Path(folder), Servers("http://127.0.0.1:1", "http://127.0.0.1:1"))
        emulated = emulator.application.emulated()
        database.close()
    found = []
    for name, rpc in sorted(surface.rpcs.items()):
        service = rpc.service.rpartition(".")[2]
        limit = LIMITS.get(f"{service}.{rpc.name}", "")
        status = ABSENT if name not in emulated else PARTIAL if limit else EMULATED
        found.append(Row(service, rpc.name, status, limit))
    return found


def text(table: list[Row]) -> str:
    """Return the table for a terminal: what is emulated, and the count of the rest."""
    lines = [f"{row.status:9} {row.service}.{row.rpc}" + (f": {row.limit}" if row.limit else "") for row in table]
    return "\n".join([*lines, "", _counts(table)])


def markdown(table: list[Row]) -> str:
    """Return the page for docs/."""
    lines = [
        "# What of the Vertex AI API is emulated",
        "",
        "Made by `make parity` from the emulator itself and the route table of google-cloud-aiplatform; a test keeps",
        "it true. `invoke local.parity` prints the same. An absent RPC answers 501 UNIMPLEMENTED and its name.",
        "v1beta1 answers the same RPCs by the same routes, and so does gRPC. Of the fields that only v1beta1 has it",
        "takes those of scaling to zero and of schedules of model monitors; others are refused by their names, or by",
        "their numbers when they come by gRPC. Of ModelMonitoringService there is v1beta1 alone.",
        "",
        _counts(table),
    ]
    for service in sorted({row.service for row in table}):
        own = [row for row in table if row.service == service]
        here = [row for row in own if row.status != ABSENT]
        lines += ["", f"## {service}", ""]
        if here:
            lines += ["| RPC | | what is missing |", "|---|---|---|"]
            lines += [f"| {row.rpc} | {row.status} | {row.limit} |" for row in here]
        absent = [row.rpc for row in own if row.status == ABSENT]
        if absent:
            lines += [*([""] if here else []), f"Absent: {', '.join(absent)}."]
    return "\n".join(lines) + "\n"


def _counts(table: list[Row]) -> str:
    counts = Counter(row.status for row in table)
    return (
        f"{len(table)} RPCs: {counts[EMULATED]} emulated, {counts[PARTIAL]} emulated in part, {counts[ABSENT]} absent."
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m edge_tasks.emulator.parity", description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="as the page in docs/")
    parser.add_argument("--json", action="store_true", help="as a list, for programs")
    arguments, table = parser.parse_args(), rows()
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(row) for row in table], indent=2) + "\n")
    else:
        sys.stdout.write(markdown(table) if arguments.markdown else text(table) + "\n")


if __name__ == "__main__":
    main()
