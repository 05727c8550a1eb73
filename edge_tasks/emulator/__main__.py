"""`python -m edge_tasks.emulator --data DIR [--port P] [--storage-port P] [--seed DIR]`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from edge_tasks.emulator import data_folder, errors
from edge_tasks.emulator.runtime import early_start

MISSING = "install what the emulator needs with: pip install 'vertex-edge[local]'"


def main() -> int:
    """Run the emulator in the foreground until it is told to stop; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_tasks.emulator", description="A small Vertex AI on 127.0.0.1."
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder for everything it keeps")
    parser.add_argument("--port", type=int, default=0, help="port of the Vertex AI API (default: any free one)")
    parser.add_argument("--storage-port", type=int, default=0, help="port of Cloud Storage (default: any free one)")
    parser.add_argument(
        "--environments",
        choices=("shared", "isolated"),
        default="shared",
        help="what jobs and models run in: the emulator's own Python environment, or one that uv makes like their"
        " image's (default: shared)",
    )
    parser.add_argument("--seed", type=Path, metavar="DIR", help="snapshot to begin with when nothing is stored yet")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        folder = data_folder.DataFolder(arguments.data)
        try:
            if arguments.seed:
                from edge_tasks.emulator import snapshots

                snapshots.seed(folder.path, arguments.seed)
            early = early_start.start(folder.path) if arguments.environments == "shared" else None
            try:
                # While the fork server imports what takes longer.
                from edge_tasks.emulator import emulator
            except ModuleNotFoundError as error:
                return _fail(f"the package {error.name} is not installed", MISSING)
            _run(emulator.run(folder, arguments.port, arguments.storage_port, arguments.environments, early))
        finally:
            folder.release()
    except errors.StartError as error:
        return _fail(error.problem, error.hint)
    return 0


def _run(work: object) -> None:
    """Run the event loop: uvloop's where there is one."""
    assert asyncio.iscoroutine(work)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def _fail(problem: str, hint: str) -> int:
    print(f"error: {problem}\n\nhint: {hint}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Before the servers were started; afterwards SIGINT ends them in order.
        sys.exit(130)
