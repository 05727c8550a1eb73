"""`cost.*`: what serving costs, by the hour and in money."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task(help={"currency": "such as EUR (default: USD)"})
def update(_context: Any, currency: str = "USD") -> None:
    """Fetch Google's list prices for edge.yaml's region.

    They are kept on this machine, with their date.
    """
    from edge_tasks.console import Console
    from edge_tasks.models import costs

    here = repository()
    with Console() as console:
        prices = costs.update(here.config, here.root, currency)
        console.step(f"{len(prices.prices)} prices in {prices.region}, {prices.currency}, of {prices.fetched}")
        for name, settings in here.config.models.items():
            console.step(f"`{name}`: {costs.sentence(costs.serving(settings), prices)}")


@task(help={"json": "as JSON"})
def status(_context: Any, json: bool = False) -> None:
    """List what is deployed, and what it costs.

    Since when it is, what it costs a day, and what it has cost.
    """
    from json import dumps

    from edge_tasks.cloud.client import on_google_cloud
    from edge_tasks.console import print_note, print_result, print_table
    from edge_tasks.models import costs

    here = repository()
    prices = costs.load(here.config, here.root)
    rows = costs.rows(list(costs.served(here.cloud)), prices)
    if json:
        print_result(dumps([dict(zip(costs.COLUMNS, row, strict=True)) for row in rows], indent=2))
        return
    print_table(costs.COLUMNS, rows)
    if prices:
        print_note(f"list prices of {prices.fetched} in {prices.region}, without discounts")
    else:
        print_note("invoke cost.update fetches prices")
    if not on_google_cloud(here.config):
        print_note("with target local nothing is paid: this is what the same would cost on Google Cloud")


collection = Collection("cost", update, status)
