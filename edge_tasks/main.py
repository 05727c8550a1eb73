"""The console script `edge`: the same tasks as `invoke` in a generated repository."""

from __future__ import annotations

from invoke.program import Program

from edge_tasks import __version__
from edge_tasks.tasks import namespace

program = Program(name="edge", binary="edge", version=__version__, namespace=namespace)
