"""What answers predictions where no prebuilt image can: a `Predictor`, and the model server around it.

    python -m edge_tasks.serving

`models/NAME/predictor.py` may hold a Predictor of the model's own:

    from edge_tasks.serving import Predictor

    class CelsiusPredictor(Predictor):
        def preprocess(self, prediction_input):
            frame = super().preprocess(prediction_input)
            frame["temperature"] = (frame["temperature"] - 32) / 1.8
            return frame
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_tasks.domain.signature import RequestError
    from edge_tasks.serving.predictor import Predictor
    from edge_tasks.serving.trial import ask

# Imported when first asked for: the emulator, which starts quickly, has modules of this package that need none of them.
_HOMES = {
    "Predictor": "edge_tasks.serving.predictor",
    "RequestError": "edge_tasks.domain.signature",
    "ask": "edge_tasks.serving.trial",
}

__all__ = ["Predictor", "RequestError", "ask"]


def __getattr__(name: str) -> Any:
    """Return what is imported from here by name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
