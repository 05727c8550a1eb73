"""What a repository's models cost: which machines run, since when, and what that comes to by list prices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from edge_tasks.cloud import endpoints, hosted_dashboard, managed_monitoring, price_catalog, request_counts
from edge_tasks.cloud.client import Cloud, on_google_cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.prices import PREDICTION, UNKNOWN, Machine, PriceList, Use, amounts, hourly, money, note, total
from edge_tasks.domain.runs import utc_now
from edge_tasks.domain.state import ModelState
from edge_tasks.errors import CloudError
from edge_tasks.repo import layout
from edge_tasks.repo.files import write_atomically

COLUMNS = ["what", "machines", "since (UTC)", "hours", "requests (24 h)", "use", "until (UTC)", "a day", "so far"]

# The kind of what is on an endpoint; another kind is that of a job.
VERSION = "version"

# The dashboard on Cloud Run, which is paid for only while it answers: https://cloud.google.com/run/pricing.
DASHBOARD = "dashboard"

# For how long somebody must not have been asked to be called idle.
_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Running:
    """What costs money now: a version on an endpoint, asked or not, or a job.

    `requests` is how many it answered in 24 hours: None when that is not known, and for a job. `until` is when it is
    to be taken off. `scale_to_zero` says when it goes to no replica; for how long it was up is not known then, nor what
    it costs.
    """

    model: str
    kind: str
    name: str
    uses: tuple[Use, ...]
    since: datetime | None
    requests: int | None = None
    until: datetime | None = None
    scale_to_zero: str = ""

    @property
    def hours(self) -> float:
        """Hours since it began."""
        return max(0.0, (utc_now() - self.since).total_seconds() / 3600) if self.since else 0.0

    @property
    def use(self) -> str:
        """Whether anybody needs it, as far as is known; empty for a job."""
        if self.kind != VERSION:
            return ""
        if self.requests is None:
            return UNKNOWN
        if self.requests:
            return "asked"
        return "idle" if self.hours >= _DAY.total_seconds() / 3600 else "new"

    @property
    def machines(self) -> str:
        """What it runs on, in words; empty when that is not known."""
        words = " and ".join(str(use.machine) for use in self.uses)
        return f"{words} or none" if self.scale_to_zero else words

    def cost(self, prices: PriceList) -> float | None:
        """Return what it has cost since it began; None when that is not known."""
        return total(prices, self.uses) if self.uses and not self.scale_to_zero else None

    def row(self, prices: PriceList | None) -> list[str]:
        """Return its row of COLUMNS."""
        a_day, so_far = self._amounts(prices)
        machines = "Cloud Run, while it answers" if self.kind == DASHBOARD else UNKNOWN
        return [
            f"{self.model} {self.kind} {self.name}".strip(),
            self.machines or machines,
            f"{self.since:%Y-%m-%d %H:%M}" if self.since else "",
            f"{self.hours:,.1f}" if self.since else "",
            "" if self.kind != VERSION else UNKNOWN if self.requests is None else f"{self.requests:,}",
            self.use,
            f"{self.until:%Y-%m-%d %H:%M}" if self.until else "",
            money(a_day, prices) if prices else "",
            money(so_far, prices) if prices else "",
        ]

    def document(self, prices: PriceList | None) -> dict[str, Any]:
        """Return the same as plain JSON; what is not known is null."""
        a_day, so_far = self._amounts(prices)
        return {
            "model": self.model,
            "kind": self.kind,
            "name": self.name,
            "machines": [str(use.machine) for use in self.uses],
            "since": self.since.isoformat() if self.since else None,
            "hours": round(self.hours, 3),
            "requests_24h": self.requests,
            "use": None if self.use in ("", UNKNOWN) else self.use,
            "until": self.until.isoformat() if self.until else None,
            "scale_to_zero": self.scale_to_zero or None,
            **amounts({"a_day": a_day, "so_far": so_far}, prices),
        }

    def _amounts(self, prices: PriceList | None) -> tuple[float | None, float | None]:
        so_far = self.cost(prices) if prices else None
        if prices is None or so_far is None:
            return None, None
        return total(prices, [Use(use.machine, 24.0) for use in self.uses]), so_far


def running(
    cloud: Cloud, unknown: Callable[[str], None] = lambda _: None, *, counted: bool = True
) -> Iterator[Running]:
    """Yield every version on an endpoint that the shared state tells of, with its machines, and a hosted dashboard.

    `unknown` is told once why requests are not known; without `counted` nobody is asked for them.
    """
    for name, state in sorted(StateStore(cloud).load().models.items()):
        for resource in filter(None, (state.endpoint, state.trial_endpoint)):
            endpoint = endpoints.get_endpoint(cloud, resource)
            if endpoint is None or not endpoint.deployed:
                continue
            requests: Mapping[str, int] | None = None
            if counted:
                try:
                    requests = request_counts.requests(cloud, resource, _DAY)
                except CloudError as error:
                    unknown(f"{error.problem}: {error.hint}" if error.hint else error.problem)
                    unknown = _silent
            yield from _on_endpoint(name, state, endpoint, requests)
    if hosted := hosted_dashboard.find(cloud):
        yield Running("", DASHBOARD, hosted.service, (), datetime.fromisoformat(hosted.at))


def _silent(_: str) -> None:
    """Say nothing."""


def _on_endpoint(
    name: str, state: ModelState, endpoint: endpoints.Endpoint, requests: Mapping[str, int] | None
) -> Iterator[Running]:
    known = {one.deployed_model_id: one for one in (state.deployed, state.candidate) if one}
    for key, model in endpoint.deployed.items():
        recorded = known.get(key)
        since = endpoint.created.get(key) or (recorded.deployed_at if recorded else None)
        aside = " (a trial)" if endpoint.name == state.trial_endpoint else ""
        found = Running(
            model=name,
            kind=VERSION,
            name=f"{model.rpartition('@')[2]}{aside}",
            uses=(),
            since=since,
            requests=None if requests is None else requests.get(key, 0),
            until=recorded.until if recorded else None,
        )
        resources = endpoint.resources.get(key)
        if resources is not None and resources.machine_type:
            machine = Machine(
                PREDICTION,
                resources.machine_type,
                resources.accelerator_type or None,
                resources.accelerator_count or 1,
                resources.min_replica_count or 1,
            )
            found = replace(found, uses=(Use(machine, found.hours),), scale_to_zero=resources.scale_to_zero)
        yield found


def basis(config: EdgeConfig, prices: PriceList) -> str:
    """Return what amounts of money rest on, and that nothing is paid where that is so."""
    return note(prices) if on_google_cloud(config) else f"{note(prices)}; with target local nothing is paid"


def spent(one: Running, prices: PriceList | None, config: EdgeConfig) -> str:
    """Return for how long something has run, and what that has cost, in words."""
    machines = one.machines or "machines that are not known"
    if one.kind == DASHBOARD:
        return f"the dashboard has been on Cloud Run for {one.hours:,.1f} hours, paid for while it answers"
    words = f"`{one.model}` {one.kind} {one.name} has run for {one.hours:,.1f} hours on {machines}"
    amount = one.cost(prices) if prices else None
    return words if amount is None or prices is None else f"{words}: {money(amount, prices)} ({basis(config, prices)})"


def sentence(machine: Machine, prices: PriceList | None, period: timedelta | None = None, zero: str = "") -> str:
    """Return what the machines cost a day, or for `period`, in words; without a price, their hours.

    `zero` says when they go to none, because nobody asks.
    """
    amount = hourly(prices, machine) if prices else None
    if zero:
        return _to_zero(machine, amount, prices, zero)
    if period is not None:
        return _for_a_time(machine, amount, prices, period.total_seconds() / 3600)
    if amount is None or prices is None:
        why = "its price is not known" if prices else "invoke cost.update fetches prices"
        return f"{machine} would run 24 hours a day, asked or not ({why})"
    return (
        f"{machine} would cost about {24 * amount:,.2f} {prices.currency} a day, asked or not "
        f"(list price of {prices.fetched} in {prices.region}, at least {machine.count} running)"
    )


def _to_zero(machine: Machine, amount: float | None, prices: PriceList | None, zero: str) -> str:
    words = f"{machine} would run while it is asked, and none {zero}"
    if amount is None or prices is None:
        return words
    return f"{words}: about {amount:,.2f} {prices.currency} for each hour that it is up ({note(prices)})"


def watching(cloud: Cloud) -> Iterator[Running]:
    """Yield what watches models on Google's own means, by itself. Google charges for what it reads, not by the hour."""
    for name, state in sorted(StateStore(cloud).load().models.items()):
        for one in managed_monitoring.find(cloud, name, state):
            if one.kind != managed_monitoring.MONITOR:  # it does nothing unless a schedule or somebody lets it
                yield Running(name, one.kind, one.name.rpartition("/")[2], (), None)


def _for_a_time(machine: Machine, amount: float | None, prices: PriceList | None, hours: float) -> str:
    words = f"{machine} would run for {hours:g} hours (invoke model.undeploy --expired ends it then)"
    if amount is None or prices is None:
        return words
    return f"{words}, at about {hours * amount:,.2f} {prices.currency} in all ({note(prices)})"


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
