"""Rows printed as a table, and written as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.row import Row

HEADINGS = ["what", "median (middle half)", "compared with", "comparison", "limit", "holds"]


def show(rows: Sequence[Row]) -> None:
    """Print the rows, columns aligned."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"\n{machine()}")


def machine() -> str:
    """Return what the numbers depend on."""
    load = os.getloadavg()[0]
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} at the end"


def write(path: Path, measured: Mapping[str, Sequence[Row]]) -> None:
    """Write all numbers to `path`."""
    benchmarks = {name: [row.numbers() for row in rows] for name, rows in measured.items()}
    path.write_text(json.dumps({"machine": machine(), "benchmarks": benchmarks}, indent=2) + "\n", encoding="utf-8")
