"""`cost.*`: what runs, what it costs by the hour and in money, and whether anybody needs it."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, task


@task(help={"currency": "such as EUR (default: USD)"})
def update(_context: Any, currency: str = "USD") -> None:
    """Fetch Google's list prices for edge.yaml's region.

    They are kept on this machine, with their date.
    """
    from edge_tasks.console import Console
    from edge_tasks.models import costs
    from edge_tasks.releases.preflight import scale_to_zero, serving_machines

    here = repository()
    with Console() as console:
        prices = costs.update(here.config, here.root, currency)
        console.step(f"{len(prices.prices)} prices in {prices.region}, {prices.currency}, of {prices.fetched}")
        for name, settings in here.config.models.items():
            zero = scale_to_zero(settings)
            console.step(f"`{name}`: {costs.sentence(serving_machines(settings), prices, zero=zero)}")


@task(help=AS_JSON)
def status(_context: Any, json: bool = False) -> None:
    """List what runs, and what it costs.

    Versions on endpoints, running jobs, and what watches models: since when, requests, idle or not, and what it has
    cost.
    """
    from edge_tasks.console import print_json, print_note, print_table
    from edge_tasks.jobs import listing
    from edge_tasks.models import costs

    here = repository()
    prices = costs.load(here.config, here.root)
    why: list[str] = []
    found = [*costs.running(here.cloud, why.append), *costs.watching(here.cloud)]
    for job in listing.list_jobs(here.cloud, here.config):
        if not job.job.done:
            kind = job.api.noun
            found.append(costs.Running(job.model, kind, job.job.job_id, job.job.uses, job.job.started))
    if json:
        print_json([one.document(prices) for one in found])
        return
    if not found:
        print_note("nothing runs, so nothing costs by the hour")
        return
    print_table(costs.COLUMNS, [one.row(prices) for one in found], spare=("since (UTC)",))
    for one in why:
        print_note(one)
    print_note(costs.basis(here.config, prices) if prices else "invoke cost.update fetches prices")
    if any(one.use == "idle" for one in found):
        print_note("idle: nobody has asked it for 24 hours; invoke model.undeploy --idle 24h takes it off")
    if any(one.scale_to_zero for one in found):
        print_note("or none: it scales to zero, and how long it was up is not known")


collection = Collection("cost", update, status)
