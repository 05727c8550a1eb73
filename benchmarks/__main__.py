"""`python -m benchmarks [NAME ...] [--json FILE]`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    deployment,
    drift,
    environments,
    experiments,
    jobs,
    listing,
    loop,
    models,
    pipelines,
    prediction,
    predictor,
    servers,
    serving,
    storage,
    table,
    training,
    watching,
)
from benchmarks.laboratory import CommandError, Laboratory, laboratory
from benchmarks.row import Row

BENCHMARKS: dict[str, Callable[[Laboratory], Iterator[Row]]] = {
    "list": listing.measure,
    "start": servers.measure,
    "job": jobs.measure,
    "environments": environments.measure,
    "train": training.measure,
    "deploy": deployment.measure,
    "predict": prediction.measure,
    "models": models.measure,
    "pipelines": pipelines.measure,
    "serve": serving.measure,
    "predictor": predictor.measure,
    "experiments": experiments.measure,
    "loop": loop.measure,
    "storage": storage.measure,
    "watch": watching.measure,
    "drift": drift.measure,
}


def main() -> int:
    """Measure what was asked for, and print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what things cost.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or some of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file, too")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    # Ended from outside, the servers are still stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measured: dict[str, list[Row]] = {}
    try:
        with laboratory() as here:
            for name in arguments.names or BENCHMARKS:
                print(f"> measuring {name}", file=sys.stderr, flush=True)
                rows = measured.setdefault(name, [])
                for row in BENCHMARKS[name](here):
                    rows.append(row)
                    what, measured_as, *_ = row.cells()
                    print(f"  {what}: {measured_as}", file=sys.stderr, flush=True)
    except CommandError as error:
        print(f"error: {error}\n\nhint: run this command by hand in its own repository", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        # Also what was measured before something failed: it took minutes.
        if any(measured.values()):
            table.show([row for rows in measured.values() for row in rows])
    if arguments.json:
        table.write(arguments.json, measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
