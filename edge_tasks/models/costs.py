"""What a repository's models cost: which machines serve, since when, and what that comes to by list prices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_tasks.cloud import endpoints, price_catalog
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, ModelConfig
from edge_tasks.domain.prices import PREDICTION, Machine, PriceList, hourly
from edge_tasks.domain.runs import utc_now
from edge_tasks.domain.state import ModelState
from edge_tasks.repo import layout
from edge_tasks.repo.files import write_atomically

COLUMNS = ["model", "version", "machines", "since", "hours", "a day", "so far"]

_UNKNOWN = "?"


@dataclass(frozen=True)
class Served:
    """A version that is deployed, and so costs money, whether it is asked or not."""

    model: str
    version: str
    machine: Machine
    since: datetime

    @property
    def hours(self) -> float:
        """Hours since it was deployed."""
        return max(0.0, (utc_now() - self.since).total_seconds() / 3600)


def serving(settings: ModelConfig) -> Machine:
    """Return the machines that a deployment with these settings keeps running at least."""
    return Machine(
        PREDICTION,
        settings.serving_machine_type,
        settings.serving_accelerator_type,
        settings.serving_accelerator_count,
        settings.min_replica_count,
    )


def served(cloud: Cloud) -> Iterator[Served]:
    """Yield what the shared state says that is deployed, on the machines that it has now."""
    for name, state in sorted(StateStore(cloud).load().models.items()):
        yield from _served(cloud, name, state)


def _served(cloud: Cloud, name: str, state: ModelState) -> Iterator[Served]:
    endpoint = endpoints.get_endpoint(cloud, state.endpoint) if state.endpoint else None
    for deployment in filter(None, (state.deployed, state.candidate)):
        resources = endpoint.resources.get(deployment.deployed_model_id) if endpoint else None
        if resources is not None:
            machine = Machine(
                PREDICTION,
                resources.machine_type,
                resources.accelerator_type or None,
                resources.accelerator_count or 1,
                resources.min_replica_count or 1,
            )
            yield Served(name, deployment.version, machine, deployment.deployed_at)


def rows(found: list[Served], prices: PriceList | None) -> list[list[str]]:
    """Return a row of COLUMNS for each version that is deployed."""
    table = []
    for one in found:
        amount = hourly(prices, one.machine) if prices else None
        a_day, so_far = (None, None) if amount is None else (24 * amount, one.hours * amount)
        table.append(
            [
                one.model,
                one.version,
                str(one.machine),
                f"{one.since:%Y-%m-%d %H:%M} UTC",
                f"{one.hours:,.1f}",
                _money(a_day, prices),
                _money(so_far, prices),
            ]
        )
    return table


def _money(amount: float | None, prices: PriceList | None) -> str:
    return _UNKNOWN if amount is None or prices is None else f"{amount:,.2f} {prices.currency}"


def sentence(machine: Machine, prices: PriceList | None) -> str:
    """Return what the machines cost a day, in words; without a price, their hours."""
    amount = hourly(prices, machine) if prices else None
    if amount is None or prices is None:
        return f"{machine} would run 24 hours a day, asked or not (invoke cost.update fetches prices)"
    return (
        f"{machine} would cost about {24 * amount:,.2f} {prices.currency} a day, asked or not "
        f"(list price of {prices.fetched} in {prices.region}, at least {machine.count} running)"
    )


def load(config: EdgeConfig, root: Path) -> PriceList | None:
    """Return the prices that were fetched for edge.yaml's region, or None."""
    try:
        found = PriceList.from_json(layout.price_list(root).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return found if found and found.region == config.google_cloud_project.region else None


def update(config: EdgeConfig, root: Path, currency: str) -> PriceList:
    """Fetch today's list prices for edge.yaml's region, keep them, and return them. Raises CloudError."""
    prices = price_catalog.fetch(config.google_cloud_project.region, currency)
    save(root, prices)
    return prices


def save(root: Path, prices: PriceList) -> None:
    """Keep the prices on this machine."""
    path = layout.price_list(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, prices.model_dump_json(indent=1).encode())
