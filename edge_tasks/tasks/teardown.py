"""`invoke teardown`."""

from __future__ import annotations

from typing import Any

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, LOCK_TIMEOUT_HELP, task


@task(
    help={
        "bucket": "the bucket, too, with all data, models and the shared state",
        "yes": "do not ask",
        "dry_run": "only print the list",
        "lock_timeout": LOCK_TIMEOUT_HELP,
        **AS_JSON,
    }
)
def teardown(
    _context: Any,
    bucket: bool = False,
    yes: bool = False,
    dry_run: bool = False,
    lock_timeout: int = 0,
    json: bool = False,
) -> None:
    """Remove all that this repository made in the cloud.

    The list is printed first; nothing else is touched.
    """
    from edge_tasks.console import Console, confirm, print_json
    from edge_tasks.errors import EdgeError
    from edge_tasks.models import costs
    from edge_tasks.releases import teardown as work

    if json and not dry_run:
        raise EdgeError("`--json` is for the list alone", "invoke teardown --dry-run --json")
    here = repository()
    with Console() as console:
        things = work.find(here.cloud, here.config, bucket)
        if json:
            print_json([{"kind": thing.kind.removesuffix(":"), "name": thing.name} for thing in things])
            return
        if not things:
            if not dry_run:
                work.forget(here.cloud, here.config, console, lock_timeout)
            console.step(f"there is nothing to remove ({here.config.target})")
            return
        for thing in things:
            console.step(f"would delete the {thing}")
        prices = costs.load(here.config, here.root)
        for one in costs.running(here.cloud, counted=False):
            console.step(costs.spent(one, prices, here.config))
        if dry_run:
            return
        if not yes and not confirm(f"delete all this ({here.config.target})? It cannot be undone."):
            raise EdgeError("nothing was removed", "add `--yes` to remove without being asked")
        work.remove(here.cloud, here.config, things, console, lock_timeout)
        console.step("removed all of it; the files of the repository are as they were")
