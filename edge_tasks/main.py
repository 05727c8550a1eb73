"""The console script `edge`: the same tasks as `invoke` in a generated repository."""

from __future__ import annotations

import sys

from edge_tasks import __version__

try:
    from edge_tasks.tasks import namespace
    from edge_tasks.tasks.program import EdgeProgram
except KeyboardInterrupt:  # before invoke is there to take it
    sys.stderr.write("interrupted\n")
    sys.exit(130)

program = EdgeProgram(name="edge", binary="edge", version=__version__, namespace=namespace)
