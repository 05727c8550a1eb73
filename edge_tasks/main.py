"""The console script `edge`: the same tasks as `invoke` in a generated repository."""

from __future__ import annotations

from edge_tasks import __version__
from edge_tasks.tasks import namespace
from edge_tasks.tasks.program import EdgeProgram

program = EdgeProgram(name="edge", binary="edge", version=__version__, namespace=namespace)
