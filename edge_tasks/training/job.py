"""What runs inside a training job: `python -m edge_tasks.training.job`.

The job's packages hold the model's folder and the order (see `edge_tasks.training.packages`). They are laid out as in
the repository, and the script runs as it does on a laptop, with the same parameters. Vertex AI may restart a worker, so
everything here may run more than once: a second run overwrites the outputs of the first, metrics last.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
import tempfile
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from edge_tasks.config import EdgeConfig
from edge_tasks.trained_model import ARTIFACT_FOLDER
from edge_tasks.training.context import MODEL_PACKAGE, ORDER_FILE, ORDER_VARIABLE, Order
from edge_tasks.training.results import METRICS_FILE, read_results


def main() -> None:
    """Lay out the repository's part that travelled, and run the training script in it."""
    with tempfile.TemporaryDirectory(prefix="edge-job-") as folder:
        order = lay_out(Path(folder))
        model_folder = Path(folder) / "models" / order.model_name
        parameters = Path(folder) / "parameters.json"
        parameters.write_text(json.dumps(order.parameters), encoding="utf-8")
        os.chdir(model_folder)
        sys.path.insert(0, str(model_folder))
        sys.argv = [order.script, "with", str(parameters)]
        try:
            runpy.run_path(order.script, run_name="__main__")
        finally:
            os.chdir("/")


def lay_out(folder: Path) -> Order:
    """Put edge.yaml and the model's folder into `folder`, as in the repository; return the order."""
    files = resources.files(MODEL_PACKAGE)
    with resources.as_file(files) as package:
        shutil.copytree(package / "files", folder, dirs_exist_ok=True)
        order = Order(**json.loads((package / ORDER_FILE).read_text(encoding="utf-8")))
    path = folder / ORDER_FILE
    path.write_text(json.dumps(asdict(order)), encoding="utf-8")
    os.environ[ORDER_VARIABLE] = str(path)
    return order


def deliver(config: EdgeConfig, order: Order, folder: Path) -> dict[str, Any]:
    """Check what the training wrote to `folder`, upload it to the job's output folder, and return the metrics.

    The metrics go last: a folder with metrics is complete.
    """
    from edge_tasks.cloud import connect_from_job
    from edge_tasks.storage import split_uri, upload

    results = read_results(folder)
    cloud = connect_from_job(config)
    _, prefix = split_uri(order.output_uri)
    _, artifact_prefix = split_uri(os.environ.get("AIP_MODEL_DIR") or f"{order.output_uri}/{ARTIFACT_FOLDER}")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files.sort(key=lambda path: path.name == METRICS_FILE)
    for path in files:
        relative = path.relative_to(folder)
        if relative.parts[0] == ARTIFACT_FOLDER:
            upload(cloud, path, f"{artifact_prefix.rstrip('/')}/{relative.relative_to(ARTIFACT_FOLDER).as_posix()}")
        else:
            upload(cloud, path, f"{prefix}/{relative.as_posix()}")
    return results.metrics


if __name__ == "__main__":
    main()
