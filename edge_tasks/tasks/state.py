"""`state.*`: the shared state and its lock."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, task


@task(help={"history": "print the last changes instead: when, who, with which command, what", **AS_JSON})
def show(_context: Any, history: bool = False, json: bool = False) -> None:
    """Print the shared state; stderr says who holds its lock."""
    from edge_tasks.cloud.state_store import StateStore
    from edge_tasks.console import Console, print_json, print_result, print_table
    from edge_tasks.domain.state import dump_state

    store = StateStore(repository().cloud)
    state = store.load()
    if json:
        changes = [change.model_dump(mode="json") for change in state.changes]
        print_json(changes if history else state.model_dump(mode="json", exclude={"changes"}))
    elif history:
        rows = [
            [f"{change.at:%Y-%m-%d %H:%M:%S} UTC", change.by, change.command, "; ".join(change.what)]
            for change in state.changes
        ]
        print_table(["when", "who", "command", "what"], rows)
    else:
        print_result(dump_state(state.model_copy(update={"changes": ()})).rstrip())
    held = store.holder()
    if held is not None:
        holder, age = held
        with Console() as console:
            console.step(f"locked by {holder.describe(age)}")


@task(help={"yes": "do not ask"})
def unlock(_context: Any, yes: bool = False) -> None:
    """Remove the lock of the shared state.

    Do so when its holder no longer lives.
    """
    from edge_tasks.cloud.state_store import StateStore
    from edge_tasks.console import Console, confirm
    from edge_tasks.errors import EdgeError

    store = StateStore(repository().cloud)
    held = store.holder()
    with Console() as console:
        if held is None:
            console.step("the shared state is not locked")
            return
        who = held[0].describe(held[1])
        if not yes and not confirm(f"remove the lock of {who}?"):
            raise EdgeError(f"the shared state is locked by {who}", "add `--yes` to unlock without being asked")
        store.unlock()
        console.step(f"unlocked; it was held by {who}")


collection = Collection("state", show, unlock)
