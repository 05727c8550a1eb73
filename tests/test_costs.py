"""What serving costs: list prices from a catalog that speaks as Google's, added up, and never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud import price_catalog, request_counts
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.latencies import Latencies
from edge_tasks.domain.prices import PREDICTION, TRAINING, Machine, PriceList, Use, hourly, money, total
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import CloudError, ForbiddenError
from edge_tasks.models import costs
from edge_tasks.models.overview import Overview, Serving
from tests.json_service import Asked, served

REGION = "us-central1"


def sku(description: str, nanos: int, units: str = "0", unit: str = "h", regions: tuple[str, ...] = (REGION,)) -> Any:
    """An entry as the API documents it: https://cloud.google.com/billing/docs/reference/rest/v1/services.skus/list"""
    return {
        "name": "services/C7E2-9256-1C43/skus/AAAA-BBBB-CCCC",
        "skuId": "AAAA-BBBB-CCCC",
        "description": description,
        "category": {
            "serviceDisplayName": "Vertex AI",
            "resourceFamily": "ApplicationServices",
            "usageType": "OnDemand",
        },
        "serviceRegions": list(regions),
        "pricingInfo": [
            {
                "effectiveTime": "2026-11-01T00:00:00Z",
                "pricingExpression": {
                    "usageUnit": unit,
                    "tieredRates": [
                        {"startUsageAmount": 0, "unitPrice": {"currencyCode": "USD", "units": units, "nanos": nanos}}
                    ],
                },
            }
        ],
        "serviceProviderName": "Google",
    }


CATALOG = [
    sku("Vertex AI: Online/Batch Prediction N1 Predefined Instance Core running in Iowa", 36_000_000),
    sku("Vertex AI: Online/Batch Prediction N1 Predefined Instance Ram running in Iowa", 5_000_000, unit="GiBy.h"),
    sku(
        "Vertex AI: Online/Batch Prediction N1 Predefined Instance Core running in Zurich", 1, regions=("europe-west6",)
    ),
    sku("Vertex AI: Online/Batch Prediction management fee on N1 Instance Core in Iowa", 1),
    sku("Vertex AI: Online/Batch Prediction Nvidia Tesla T4 GPU running in Iowa", 400_000_000),
    sku("Vertex AI: Online/Batch Prediction Nvidia H100 80gb GPU running in Iowa", 266_033_200, "11"),
    sku("Vertex AI: Online/Batch Prediction A3 Predefined Instance Core running in Iowa", 29_322_700),
    sku("Vertex AI: Online/Batch Prediction A3 Predefined Instance Ram running in Iowa", 2_553_400, unit="GiBy.h"),
    sku("Vertex AI: Online/Batch Prediction E2 Instance Core running in Iowa", 1),
    sku("Vertex AI: Online/Batch Prediction E2 Instance Core running in Council Bluffs", 2),
    sku("Vertex AI: Online/Batch Prediction E2 Instance Ram running in Iowa", 1, unit="GiBy.h"),
    sku("Vertex AI: Training/Pipelines on N1 Predefined Instance Core running in Iowa", 30_000_000),
    sku("Vertex AI: Training/Pipelines on N1 Predefined Instance Ram running in Iowa", 4_000_000, unit="GiBy.h"),
    sku("Vertex AI: Training/Pipelines Management fee on N1 Instance Core in Iowa", 3_000_000),
    sku("Vertex AI: Training/Pipelines Management fee on N1 Instance RAM in Iowa", 400_000, unit="GiBy.h"),
    sku("Gemini 2.5 Pro Text Input", 1, unit="count"),
]


class Catalog:
    """Answers as the Cloud Billing Catalog API, a few entries a page."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]], str | None]] = []
        self.refusal: tuple[int, bytes] | None = None

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append((asked.path, asked.query, asked.headers.get("Authorization")))
        first = int(asked.query.get("pageToken", ["0"])[0])
        following = str(first + 6) if first + 6 < len(CATALOG) else ""
        return self.refusal or (200, {"skus": CATALOG[first : first + 6], "nextPageToken": following})


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    catalog = Catalog()
    with served(catalog.answer) as url:
        monkeypatch.setenv(price_catalog.URL_VARIABLE, f"{url}/")
        yield catalog


def test_all_pages_are_read_and_other_addresses_get_no_token(catalog: Catalog) -> None:
    prices = price_catalog.fetch(REGION, "EUR")
    assert len(prices.prices) == len(CATALOG) - 2
    assert {path for path, _, _ in catalog.asked} == {"/v1/services/C7E2-9256-1C43/skus"}
    assert [query.get("pageToken", [""])[0] for _, query, _ in catalog.asked] == ["", "6", "12"]
    assert {query["currencyCode"][0] for _, query, _ in catalog.asked} == {"EUR"}
    assert {token for _, _, token in catalog.asked} == {None}


@pytest.mark.parametrize(
    ("machine", "amount"),
    [
        (Machine(PREDICTION, "n1-standard-2"), 2 * 0.036 + 7.5 * 0.005),
        (Machine(PREDICTION, "n1-highmem-4", count=3), 3 * (4 * 0.036 + 26 * 0.005)),
        (Machine(PREDICTION, "n1-standard-4", "NVIDIA_TESLA_T4", 2), 4 * 0.036 + 15 * 0.005 + 2 * 0.4),
        # What a bill showed for such a machine: 12.625919 USD an hour.
        (Machine(PREDICTION, "a3-highgpu-1g", "NVIDIA_H100_80GB"), 12.625919),
        (Machine(TRAINING, "n1-standard-4"), 4 * 0.033 + 15 * 0.0044),
        # Two entries for one core, none for these, and machines whose memory is not known: no price at all.
        (Machine(PREDICTION, "e2-standard-2"), None),
        (Machine(TRAINING, "e2-standard-2"), None),
        (Machine(PREDICTION, "n1-standard-4", "NVIDIA_TESLA_V100"), None),
        (Machine(PREDICTION, "n2-standard-4"), None),
        (Machine(PREDICTION, "x9-future-4"), None),
        # What is left over has a price of the moment, which no list has.
        (Machine(TRAINING, "n1-standard-4", spot=True), None),
    ],
    ids=str,
)
def test_a_machine_costs_the_sum_of_its_parts_or_has_no_price(
    machine: Machine, amount: float | None, catalog: Catalog
) -> None:
    found = hourly(price_catalog.fetch(REGION), machine)
    assert found == (None if amount is None else pytest.approx(amount, abs=1e-5))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((403, b'{"error": {"message": "API not enabled"}}'), "cannot read the price catalog: API not enabled"),
        ((500, b"<html>"), "cannot read the price catalog: status 500"),
        ((200, b"<html>"), "the answer is not JSON"),
        ((200, b"[1]"), "the answer is not JSON"),
        ((200, b'{"skus": [{}]}'), "an entry of the price catalog cannot be read"),
        ((200, b'{"skus": []}'), f"the price catalog has nothing for Vertex AI in {REGION}"),
    ],
)
def test_what_is_not_a_catalog_is_an_error_with_advice(
    answer: tuple[int, bytes], problem: str, catalog: Catalog
) -> None:
    catalog.refusal = answer
    with pytest.raises(CloudError, match=problem) as caught:
        price_catalog.fetch(REGION)
    assert caught.value.hint


def test_saved_prices_are_used_for_their_region_only(catalog: Catalog, config: EdgeConfig, tmp_path: Path) -> None:
    machine = Machine(PREDICTION, "n1-standard-2")
    assert costs.load(config, tmp_path) is None
    assert costs.sentence(machine, None).startswith("1 n1-standard-2 would run 24 hours a day, asked or not")
    prices = price_catalog.fetch(REGION)
    costs.save(tmp_path, prices)
    assert costs.load(config, tmp_path) == prices
    a_day = 24 * (2 * 0.036 + 7.5 * 0.005)
    assert f"about {a_day:.2f} USD a day, asked or not (list price of {prices.fetched}" in costs.sentence(
        machine, prices
    )
    elsewhere = prices.model_copy(update={"region": "europe-west1"})
    costs.save(tmp_path, elsewhere)
    assert costs.load(config, tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 99}', "\x00"])
def test_a_broken_price_file_is_no_prices(text: str, config: EdgeConfig, tmp_path: Path) -> None:
    (tmp_path / ".edge").mkdir()
    (tmp_path / ".edge/prices.json").write_text(text)
    assert costs.load(config, tmp_path) is None


def test_prices_survive_being_saved(catalog: Catalog) -> None:
    prices = price_catalog.fetch(REGION)
    assert PriceList.from_json(prices.model_dump_json()) == prices


@pytest.mark.parametrize(("since", "hours"), [(timedelta(hours=2), 2.0), (timedelta(hours=-24), 0.0)])
def test_what_serves_by_a_clock_that_is_ahead_has_run_for_no_time(since: timedelta, hours: float) -> None:
    serves = (Serving("1", 100, utc_now() - since, None),)
    model = Overview("m", None, None, {}, "1", serves, None)
    assert model.hours == pytest.approx(hours, abs=0.01)


def test_nothing_deployed_costs_nothing(cloud: Cloud) -> None:
    StateStore(cloud).create()
    assert list(costs.running(cloud)) == []


def test_what_was_used_costs_the_sum_or_nothing_is_said(catalog: Catalog) -> None:
    prices = price_catalog.fetch(REGION)
    known, unknown = Machine(TRAINING, "n1-standard-4", count=2), Machine(TRAINING, "n2-standard-4")
    assert total(prices, [Use(known, 0.5), Use(known, 1.5)]) == pytest.approx(2 * 2 * (4 * 0.033 + 15 * 0.0044))
    assert total(prices, [Use(known, 1.0), Use(unknown, 1.0)]) is None
    assert total(prices, []) == 0
    shown = [money(amount, prices) for amount in (None, 0.0, 0.004, 0.006, 1234.5)]
    assert shown == ["?", "0.00 USD", "<0.01 USD", "0.01 USD", "1,234.50 USD"]


def test_a_deployment_for_a_time_is_told_as_such(catalog: Catalog) -> None:
    machine, prices = Machine(PREDICTION, "n1-standard-2"), price_catalog.fetch(REGION)
    assert costs.sentence(machine, None, timedelta(hours=4)).startswith("1 n1-standard-2 would run for 4 hours (")
    assert f"about {4 * (2 * 0.036 + 7.5 * 0.005):.2f} USD in all (list prices of {prices.fetched}" in costs.sentence(
        machine, prices, timedelta(hours=4)
    )
    unknown = costs.sentence(Machine(PREDICTION, "n2-standard-4"), prices)
    assert unknown == "1 n2-standard-4 would run 24 hours a day, asked or not (its price is not known)"


@pytest.mark.parametrize(
    ("hours", "requests", "use"), [(30, 0, "idle"), (23, 0, "new"), (30, 5, "asked"), (30, None, "?")]
)
def test_idle_is_what_nobody_asked_for_a_day(hours: float, requests: int | None, use: str) -> None:
    uses = (Use(Machine(PREDICTION, "n1-standard-2"), hours),)
    one = costs.Running("digits", costs.VERSION, "3", uses, utc_now() - timedelta(hours=hours), requests)
    assert one.use == use
    assert one.row(None)[5] == use
    assert one.document(None)["use"] == (None if use == "?" else use)


# --- requests, by a stand-in for Cloud Monitoring -------------------------------------------------------------------


def series(deployed_model_id: str, *counts: int) -> Any:
    """As https://cloud.google.com/monitoring/api/ref_v3/rest/v3/TimeSeries has it."""
    return {
        "metric": {"type": request_counts.METRIC, "labels": {"deployed_model_id": deployed_model_id}},
        "valueType": "INT64",
        "points": [{"value": {"int64Value": str(count)}} for count in counts],
    }


def counted(cloud: Cloud, url: str) -> Any:
    there = replace(cloud, monitoring_url=url)
    return request_counts.requests(there, "projects/p/locations/l/endpoints/42", timedelta(hours=24))


def test_requests_are_added_up_over_all_pages(cloud: Cloud) -> None:
    asked = []

    def answer(one: Asked) -> tuple[int, Any]:
        asked.append(one)
        if "pageToken" in one.query:
            return 200, {"timeSeries": [series("7", 5)]}
        return 200, {"timeSeries": [series("7", 1, 2), series("8", 4)], "nextPageToken": "more"}

    with served(answer) as url:
        assert counted(cloud, url) == {"7": 8, "8": 4}
    assert asked[0].path == f"/v3/projects/{cloud.project}/timeSeries"
    assert 'resource.labels.endpoint_id="42"' in asked[0].query["filter"][0]
    assert asked[0].query["aggregation.alignmentPeriod"] == ["86400s"]


def test_requests_errors_and_latencies_of_each_version_are_told_apart(cloud: Cloud) -> None:
    until = utc_now()
    asked = []

    def point(minutes_ago: float, value: dict[str, Any]) -> dict[str, Any]:
        end = (until - timedelta(minutes=minutes_ago)).isoformat(timespec="microseconds")
        return {"interval": {"endTime": end.replace("+00:00", "000Z")}, "value": value}

    def of(deployed: str, metric: str, labels: dict[str, str], *points: dict[str, Any]) -> dict[str, Any]:
        return {"metric": {"type": metric, "labels": {"deployed_model_id": deployed, **labels}}, "points": points}

    def answer(one: Asked) -> tuple[int, Any]:
        asked.append(one.query)
        if request_counts.LATENCIES in one.query["filter"][0]:
            buckets = {"explicitBuckets": {"bounds": [10, 20, 40]}}
            value = {"distributionValue": {"count": "10", "mean": 15.0, "bucketOptions": buckets,
                                           "bucketCounts": ["0", "8", "2"]}}  # fmt: skip
            spot = {"spot": "False", "latency_type": "total"}
            return 200, {"timeSeries": [of("7", request_counts.LATENCIES, spot, point(0, value)),
                                        of("7", request_counts.LATENCIES, {**spot, "spot": "True"}, point(0, value)),
                                        of("9", request_counts.LATENCIES, spot, point(0, value))]}  # fmt: skip
        good = [point(0, {"int64Value": "5"}), point(59, {"int64Value": "2"})]
        bad = [point(0, {"int64Value": "1"})]
        return 200, {"timeSeries": [of("7", request_counts.METRIC, {"response_code": "2xx"}, *good),
                                    of("7", request_counts.METRIC, {"response_code": "5xx"}, *bad)]}  # fmt: skip

    with served(answer) as url:
        there = replace(cloud, monitoring_url=url)
        found = request_counts.answers(there, "projects/p/locations/l/endpoints/42", timedelta(hours=1), 60)
    assert [query["aggregation.alignmentPeriod"] for query in asked] == [["60s"], ["3600s"]]
    one = found["7"]
    assert set(found) == {"7"}
    assert (one.requests, one.errors, one.by_status) == (8, 1, {"2xx": 7, "5xx": 1})
    assert (one.steps[0], one.steps[-1], sum(one.steps)) == (2, 6, 8)
    assert one.latencies is not None
    assert one.latencies.count == 20
    assert one.latencies.quantile(0.5) == pytest.approx(10 + 10 * 10 / 16)
    assert one.latencies.quantile(0.9) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ({"linearBuckets": {"numFiniteBuckets": 3, "width": 5, "offset": 10}}, [10, 15, 20, 25]),
        ({"exponentialBuckets": {"numFiniteBuckets": 3, "growthFactor": 2, "scale": 1}}, [1, 2, 4, 8]),
        ({"explicitBuckets": {"bounds": [0, 1.5]}}, [0, 1.5]),
    ],
)
def test_buckets_are_read_in_all_three_ways_in_which_they_are_told(options: Any, bounds: list[float]) -> None:
    found = Latencies.from_distribution({"count": "1", "mean": 1, "bucketOptions": options, "bucketCounts": ["1"]})
    assert found is not None
    assert found.bounds == bounds
    assert found.quantile(1.0) == bounds[0]
    assert Latencies.from_distribution({"count": "0"}) is None


@pytest.mark.parametrize(
    "value",
    [
        {"count": "1", "bucketOptions": {}},
        {"count": "1", "bucketOptions": {"explicitBuckets": {"bounds": [1]}}, "bucketCounts": ["1", "1", "1"]},
        {"count": "1", "bucketOptions": {"linearBuckets": {"numFiniteBuckets": 10**9, "width": 1}}},
    ],
)
def test_a_distribution_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="distribution has"):
        Latencies.from_distribution(value)


@pytest.mark.parametrize(
    ("answer", "error", "problem"),
    [
        ((403, {"error": {"message": "API not enabled"}}), ForbiddenError, "API not enabled"),
        ((500, b"<html>"), CloudError, "status 500"),
        ((200, b"[]"), CloudError, "status 200"),
        ((200, {"timeSeries": [{}]}), CloudError, "cannot be read"),
        ((200, {"nextPageToken": "again"}), CloudError, "more than 20 pages"),
    ],
)
def test_a_number_that_nobody_tells_is_an_error_and_not_nought(
    answer: tuple[int, Any], error: type[CloudError], problem: str, cloud: Cloud
) -> None:
    with served(lambda _: answer) as url, pytest.raises(error, match=problem) as caught:
        counted(cloud, url)
    assert caught.value.hint
