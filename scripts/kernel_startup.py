"""Run by IPython when a kernel starts, in an environment that has vertex:edge; see edge_tasks/local.py."""

try:
    from edge_tasks.local import guard
except ImportError:  # this file outlived its package
    pass
else:
    guard()
    del guard
