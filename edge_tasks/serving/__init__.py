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

from edge_tasks.domain.signature import RequestError
from edge_tasks.serving.predictor import Predictor
from edge_tasks.serving.trial import ask

__all__ = ["Predictor", "RequestError", "ask"]
