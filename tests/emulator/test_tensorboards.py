"""Tensorboards by plain HTTP: the four levels, and the points of time series."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.harness import PARENT, Answer, Emulator


@pytest.fixture
def run(emulator: Emulator) -> str:
    """A run of a new tensorboard."""
    tensorboard = emulator.response(emulator.post(f"{PARENT}/tensorboards", {"displayName": "t"}))["name"]
    experiment = emulator.post(f"{tensorboard}/experiments?tensorboardExperimentId=e1").body["name"]
    return str(emulator.post(f"{experiment}/runs?tensorboardRunId=r1", {"displayName": "r1"}).body["name"])


def series(emulator: Emulator, run: str, name: str, kind: str = "SCALAR") -> str:
    answer = emulator.post(f"{run}/timeSeries", {"displayName": name, "valueType": kind})
    return str(answer.body["name"])


def write(emulator: Emulator, name: str, values: list[dict[str, Any]], kind: str = "SCALAR") -> Answer:
    run, _, series_id = name.partition("/timeSeries/")
    data = {"tensorboardTimeSeriesId": series_id, "valueType": kind, "values": values}
    return emulator.post(f"{run}:write", {"tensorboardRun": run, "timeSeriesData": [data]})


def points(*values: tuple[int, float]) -> list[dict[str, Any]]:
    return [{"step": step, "scalar": {"value": value}, "wallTime": "2026-01-01T00:00:00Z"} for step, value in values]


def read(emulator: Emulator, name: str, **parameters: Any) -> list[tuple[int, float]]:
    data = emulator.get(f"{name}:read", params=parameters).body["timeSeriesData"]
    return [(int(point.get("step", 0)), point["scalar"].get("value", 0.0)) for point in data.get("values", [])]


def test_a_series_is_read_in_the_order_of_its_steps(emulator: Emulator, run: str) -> None:
    name = series(emulator, run, "loss")
    assert write(emulator, name, points((2, 0.5), (1, 1.0))).body == {}
    assert write(emulator, name, points((3, 0.25), (2, 0.75))).body == {}
    assert read(emulator, name) == [(1, 1.0), (2, 0.75), (3, 0.25)]
    assert emulator.get(name).body["metadata"] == {"maxStep": "3", "maxWallTime": "2026-01-01T00:00:00Z"}
    tensorboard = run.partition("/experiments/")[0]
    batch = emulator.get(f"{tensorboard}:batchRead", params={"timeSeries": [name, name]}).body["timeSeriesData"]
    assert [len(data["values"]) for data in batch] == [3, 3]


def test_long_series_are_thinned_out(emulator: Emulator, run: str) -> None:
    name = series(emulator, run, "loss")
    write(emulator, name, points(*((step, float(step)) for step in range(2500))))
    thinned = read(emulator, name)
    assert len(thinned) == 1000
    assert thinned == sorted(thinned)
    assert thinned[-1] == (2499, 2499.0)
    assert len(read(emulator, name, maxDataPoints=-1)) == 2500
    assert read(emulator, name, maxDataPoints=2) == [(1249, 1249.0), (2499, 2499.0)]
    too_many = write(emulator, name, points(*((step, 1.0) for step in range(5001))))
    assert too_many.error == (400, "INVALID_ARGUMENT")


def test_bad_data_are_refused_as_a_whole(emulator: Emulator, run: str) -> None:
    name = series(emulator, run, "loss")
    assert write(emulator, name, points((1, 1.0)), "TENSOR").error == (400, "INVALID_ARGUMENT")
    assert write(emulator, name, [{"step": 1, "tensor": {"value": ""}}]).error == (400, "INVALID_ARGUMENT")
    assert write(emulator, f"{run}/timeSeries/none", []).error == (404, "NOT_FOUND")
    blobs = series(emulator, run, "images", "BLOB_SEQUENCE")
    assert write(emulator, blobs, [{"step": 1, "blobs": {}}], "BLOB_SEQUENCE").error == (501, "UNIMPLEMENTED")
    experiment, other = run.partition("/runs/")[0], f"{PARENT}/tensorboards/1/experiments/e/runs/r"
    good = {"tensorboardTimeSeriesId": name.rpartition("/")[2], "valueType": "SCALAR", "values": points((1, 1.0))}
    for bad_run in (other, f"{experiment}/runs/none"):
        requests = [{"tensorboardRun": run, "timeSeriesData": [good]}, {"tensorboardRun": bad_run}]
        answer = emulator.post(f"{experiment}:write", {"writeRunDataRequests": requests})
        assert answer.status in {400, 404}
    assert read(emulator, name) == []
    assert emulator.post(f"{experiment}:write", {"writeRunDataRequests": requests[:1]}).body == {}
    assert read(emulator, name) == [(1, 1.0)]


def test_a_location_has_one_default_tensorboard(emulator: Emulator) -> None:
    parent = PARENT.replace("test-project", "tensorboards")

    def create() -> str:
        body = {"displayName": "t", "isDefault": True}
        return str(emulator.response(emulator.post(f"{parent}/tensorboards", body))["name"])

    def default() -> list[str]:
        found = emulator.get(f"{parent}/tensorboards", params={"filter": "is_default=true"}).body["tensorboards"]
        return [tensorboard["name"] for tensorboard in found]

    first, second = create(), create()
    assert default() == [second]
    emulator.response(emulator.call("PATCH", f"/v1/{first}?updateMask=isDefault", {"isDefault": True}))
    assert default() == [first]


def test_names_are_unique_and_everything_goes_with_its_parent(emulator: Emulator, run: str) -> None:
    experiment, tensorboard = run.partition("/runs/")[0], run.partition("/experiments/")[0]
    name = series(emulator, run, "loss")
    write(emulator, name, points((1, 1.0)))
    assert emulator.get(tensorboard).body["runCount"] == 1
    for path, body in {
        f"{run}/timeSeries": {"displayName": "loss", "valueType": "SCALAR"},
        f"{experiment}/runs?tensorboardRunId=r2": {"displayName": "r1"},
        f"{experiment}/runs?tensorboardRunId=r1": {"displayName": "r2"},
        f"{tensorboard}/experiments?tensorboardExperimentId=e1": {},
    }.items():
        assert emulator.post(path, body).error == (409, "ALREADY_EXISTS"), path
    for path, body in {
        f"{run}/timeSeries": {"displayName": "x"},
        f"{experiment}/runs?tensorboardRunId=r3": {},
        f"{experiment}/runs": {"displayName": "r3"},
        f"{tensorboard}/experiments?tensorboardExperimentId=E": {},
        f"{PARENT}/tensorboards": {},
    }.items():
        assert emulator.post(path, body).error == (400, "INVALID_ARGUMENT"), path
    emulator.response(emulator.call("DELETE", f"/v1/{tensorboard}"))
    assert {emulator.get(gone).status for gone in (tensorboard, experiment, run, name)} == {404}
