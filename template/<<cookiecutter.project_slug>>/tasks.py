"""The tasks that `invoke --list` shows. Add your own with `namespace.add_task(...)`."""

import sys

try:
    from edge_tasks.tasks import namespace
    from edge_tasks.tasks.program import help_invoke
except ModuleNotFoundError as error:
    if error.name != "edge_tasks":
        raise
    sys.exit(
        f"error: this `invoke` knows no vertex:edge (its Python is {sys.executable})\n\n"
        "hint: source .venv/bin/activate, or pip install -r requirements.txt"
    )

help_invoke()  # a slip is answered with what was meant; Tab completes names and run ids

__all__ = ["namespace"]
