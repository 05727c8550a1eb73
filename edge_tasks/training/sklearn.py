"""Saving what a scikit-learn training made; `save_results` takes models of other libraries, too."""

from __future__ import annotations

from edge_tasks.training.results import save_results

__all__ = ["save_results"]
