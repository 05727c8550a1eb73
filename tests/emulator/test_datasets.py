"""Managed datasets, by the SDK: kept, imported, exported, and given to a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import PARENT, PYTHON_IMAGE, Emulator

TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
ROWS = "x,y,use\n" + "".join(f"{number},{number % 2},{'TRAIN' if number < 5 else 'TEST'}\n" for number in range(20))
# As in https://cloud.google.com/vertex-ai/docs/training/using-managed-datasets: patterns, opened one by one.
SCRIPT = """
import os
from google.cloud import storage

def rows(name):
    pattern = os.environ[name]
    if not pattern:
        return []
    bucket, _, prefix = pattern.removeprefix("gs://").partition("/")
    blobs = storage.Client().list_blobs(bucket, prefix=prefix.partition("*")[0])
    return [line for blob in blobs for line in blob.download_as_text().splitlines()[1:]]

shares = [rows(f"AIP_{use}_DATA_URI") for use in ("TRAINING", "VALIDATION", "TEST")]
print(os.environ["AIP_DATA_FORMAT"], [len(share) for share in shares], len(set(sum(shares, []))))
print(os.environ["AIP_TRAINING_DATA_URI"])
"""


@pytest.mark.slow
def test_a_training_gets_its_share_of_a_tabular_dataset(
    emulator: Emulator, aiplatform: Any, bucket: str, tmp_path: Path
) -> None:
    source = emulator.put(bucket, "data/rows.csv", ROWS.encode())
    dataset = aiplatform.TabularDataset.create(display_name="rows", gcs_source=source)
    assert sorted(dataset.column_names) == ["use", "x", "y"]
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    expected: dict[str, tuple[str, dict[str, Any]]] = {
        "fractions": ("csv [16, 2, 2] 20", {}),
        "halves": ("csv [10, 10, 0] 20", {"training_fraction_split": 0.5, "validation_fraction_split": 0.5}),
        "predefined": ("csv [5, 0, 15] 20", {"predefined_split_column_name": "use"}),
    }
    for name, (line, options) in expected.items():
        image = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
        training = aiplatform.CustomTrainingJob(display_name=name, script_path=str(script), container_uri=image)
        training.run(dataset=dataset, base_output_dir=f"gs://{bucket}/{name}", **options)
        job = emulator.get(training.gca_resource.training_task_metadata["backingCustomJob"]).body
        output = emulator.output(job)
        assert output[-2] == line
        assert output[-1].startswith(f"gs://{bucket}/{name}/dataset-{dataset.name}-tabular-")
        assert output[-1].endswith("/training-*.csv")


@pytest.mark.slow
def test_items_are_imported_listed_exported_and_deleted(emulator: Emulator, aiplatform: Any, bucket: str) -> None:
    lines = b'{"textContent": "good", "classificationAnnotation": {"displayName": "yes"}}\n{"textContent": "bad"}\n'
    source = emulator.put(bucket, "in/items.jsonl", lines)
    schema = aiplatform.schema.dataset.ioformat.text.single_label_classification
    dataset = aiplatform.TextDataset.create(display_name="texts", gcs_source=source, import_schema_uri=schema)
    assert emulator.get(dataset.resource_name).body["dataItemCount"] == "2"
    items = emulator.get(f"{dataset.resource_name}/dataItems").body["dataItems"]
    assert {item["payload"]["textContent"] for item in items} == {"good", "bad"}
    (exported,) = dataset.export_data(f"gs://{bucket}/out")
    assert emulator.read(bucket, exported.removeprefix(f"gs://{bucket}/")).count(b"\n") == 2
    dataset.update(display_name="other", labels={"a": "b"})
    assert [found.name for found in aiplatform.TextDataset.list(filter='labels.a="b"')] == [dataset.name]
    dataset.delete()
    assert emulator.get(dataset.resource_name).error == (404, "NOT_FOUND")


def test_items_are_exported_for_a_training_by_the_use_that_their_lines_tell(
    emulator: Emulator, aiplatform: Any, bucket: str
) -> None:
    def line(number: int, use: str) -> str:
        labels = {"aiplatform.googleapis.com/ml_use": use}
        annotations = [{"displayName": "word"}] * number
        return json.dumps(
            {"textContent": str(number), "textSegmentAnnotations": annotations, "dataItemResourceLabels": labels}
        )

    lines = [line(number, use) for number, use in enumerate(["training", "training", "training", "validation", "test"])]
    source = emulator.put(bucket, "in/items.jsonl", "\n".join(lines).encode())
    table = emulator.put(bucket, "in/more.csv", b"TRAINING,gs://b/1.txt,good\n,gs://b/2.txt\n")
    schema = aiplatform.schema.dataset.ioformat.text.extraction
    dataset = aiplatform.TextDataset.create(display_name="texts", gcs_source=[source, table], import_schema_uri=schema)
    uses = {f"{use}_filter": f"labels.aiplatform.googleapis.com/ml_use={use}" for use in ("training", "validation")}
    exported = dataset.export_data_for_custom_training(
        f"gs://{bucket}/out", annotation_schema_uri="gs://schema.yaml", split={**uses, "test_filter": "-"}
    )
    assert [path.rpartition("/")[2] for path in exported["exportedFiles"]] == ["training-*", "validation-*", "test-*"]
    stats = {name: int(value) for name, value in exported["dataStats"].items() if int(value)}
    assert stats == {
        "trainingDataItemsCount": 4,
        "trainingAnnotationsCount": 0 + 1 + 2 + 1,
        "validationDataItemsCount": 1,
        "validationAnnotationsCount": 3,
    }
    folder = exported["exportedFiles"][1].removeprefix(f"gs://{bucket}/").removesuffix("-*")
    assert json.loads(emulator.read(bucket, f"{folder}-00000-of-00001.jsonl"))["textContent"] == "3"


def test_a_list_of_one_table_is_that_table(emulator: Emulator) -> None:
    metadata = {"inputConfig": {"bigquerySource": {"uri": ["bq://p.d.t"]}}}
    body = {"displayName": "x", "metadataSchemaUri": TABULAR, "metadata": metadata}
    made = emulator.response(emulator.post(f"{PARENT}/datasets", body))
    assert emulator.get(made["name"]).body["metadata"] == {"inputConfig": {"bigquerySource": {"uri": "bq://p.d.t"}}}


@pytest.mark.parametrize(
    ("status", "config", "text"),
    [
        (404, {"datasetId": "1"}, "not found"),
        (400, {"filterSplit": {"trainingFilter": "a"}}, "filter_split"),
        (501, {"bigqueryDestination": {"outputUri": "bq://p"}}, "BigQuery"),
    ],
)
def test_what_a_training_cannot_get_of_a_dataset_is_refused(
    emulator: Emulator, bucket: str, status: int, config: dict[str, Any], text: str
) -> None:
    metadata = {"inputConfig": {"gcsSource": {"uri": [f"gs://{bucket}/none.csv"]}}}
    body = {"displayName": "x", "metadataSchemaUri": TABULAR, "metadata": metadata}
    name = emulator.response(emulator.post(f"{PARENT}/datasets", body))["name"]
    spec = {"containerSpec": {"imageUri": PYTHON_IMAGE, "command": ["true"]}, "replicaCount": 1}
    spec["machineSpec"] = {"machineType": "n1-standard-4"}
    destination = {} if "bigqueryDestination" in config else {"gcsDestination": {"outputUriPrefix": f"gs://{bucket}/o"}}
    pipeline = {
        "displayName": "x",
        "trainingTaskDefinition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml",
        "trainingTaskInputs": {"workerPoolSpecs": [spec]},
        "inputDataConfig": {"datasetId": name.rpartition("/")[2], **destination, **config},
    }
    answer = emulator.post(f"{PARENT}/trainingPipelines", pipeline)
    assert answer.status == status, answer.body
    assert text in answer.message


def test_a_dataset_whose_file_is_missing_fails_the_training_with_its_name(emulator: Emulator, bucket: str) -> None:
    metadata = {"inputConfig": {"gcsSource": {"uri": [f"gs://{bucket}/none.csv"]}}}
    body = {"displayName": "x", "metadataSchemaUri": TABULAR, "metadata": metadata}
    name = emulator.response(emulator.post(f"{PARENT}/datasets", body))["name"]
    config = {"gcsDestination": {"outputUriPrefix": f"gs://{bucket}/out"}}
    operation = emulator.finish(emulator.post(f"{name}:export", {"exportConfig": config}))
    assert f"gs://{bucket}/none.csv does not exist" in operation["error"]["message"]
