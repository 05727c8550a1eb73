"""`state.*`: the shared state and its lock."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, LOCK_TIMEOUT_HELP, task


@task(
    help={
        "history": "print the last changes instead: when, who, with which command, what",
        "raw": "print the text of its object as it is, also when that is broken",
        **AS_JSON,
    }
)
def show(_context: Any, history: bool = False, raw: bool = False, json: bool = False) -> None:
    """Print the shared state; stderr says who holds its lock."""
    from edge_tasks.cloud.state_store import StateStore
    from edge_tasks.console import Console, print_json, print_result, print_table
    from edge_tasks.domain.state import dump_state

    store = StateStore(repository().cloud)
    if raw:
        print_result(store.raw().rstrip())
        return
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


@task(
    help={
        "file": "of YAML, such as what state.show --raw has printed, fixed",
        "lock_timeout": LOCK_TIMEOUT_HELP,
        "yes": "do not ask",
    }
)
def replace(_context: Any, file: str, lock_timeout: int = 0, yes: bool = False) -> None:
    """Put what a file holds in the place of the shared state.

    For a state that is broken. What the file tells is believed: nothing is looked up in the cloud.
    """
    from pathlib import Path

    from edge_tasks.cloud.state_store import StateStore
    from edge_tasks.console import Console, confirm
    from edge_tasks.domain.state import parse_state
    from edge_tasks.errors import EdgeError
    from edge_tasks.repo.text_files import read_text

    try:
        text = read_text(Path(file), file)
    except FileNotFoundError:
        raise EdgeError(f"there is no file `{file}`", "invoke state.show --raw > state.yaml makes one") from None
    state = parse_state(text)
    if not yes and not confirm(
        f"replace the shared state by `{file}`, which knows of {', '.join(state.models) or 'no model'}?"
    ):
        raise EdgeError("nothing was replaced", "add `--yes` to replace without being asked")
    with Console() as console:
        StateStore(repository().cloud).replace(text, lock_timeout, console.step)
        console.step("replaced the shared state; look at it: invoke state.show")


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


collection = Collection("state", show, replace, unlock)
