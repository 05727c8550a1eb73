"""The tasks that `invoke --list` shows. Add your own with `namespace.add_task(...)`."""

from edge_tasks.tasks import namespace
from edge_tasks.tasks.program import help_invoke

help_invoke()  # a slip is answered with what was meant; Tab completes names and run ids

__all__ = ["namespace"]
