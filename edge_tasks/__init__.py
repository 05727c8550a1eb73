"""vertex:edge: the invoke tasks and the training API of a generated machine-learning repository.

Importing this package loads nothing heavy; see `edge_tasks.tasks` for what `invoke --list` shows and
`edge_tasks.training` for what a `train.py` imports.
"""

__version__ = "0.1.0"
