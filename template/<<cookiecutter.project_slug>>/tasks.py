"""The tasks that `invoke --list` shows. Add your own with `namespace.add_task(...)`."""

from edge_tasks.tasks import namespace

__all__ = ["namespace"]
