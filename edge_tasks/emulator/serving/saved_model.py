"""SavedModels of TensorFlow, by their signature `serving_default`.

Instances are rows, as in https://www.tensorflow.org/tfx/serving/api_rest#specifying_input_tensors_in_row_format: values
of the one input, or objects that name the inputs. Predictions are values of the one output, or objects that name them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.serving.binary import decoded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIGNATURE = "serving_default"


def load(artifacts: Path) -> Callable[[Any, Any], Any]:
    """Load a SavedModel and return its prediction function."""
    import tensorflow as tf  # type: ignore[import-untyped,unused-ignore]

    model = tf.saved_model.load(str(artifacts))
    if SIGNATURE not in model.signatures:
        raise ValueError(f"the SavedModel has no signature {SIGNATURE}, only: {', '.join(model.signatures) or 'none'}")
    signature = model.signatures[SIGNATURE]
    inputs = signature.structured_input_signature[1]

    def predict(instances: list[Any], _: Any) -> list[Any]:
        if not instances:
            return []
        columns = _columns([decoded(instance) for instance in instances], list(inputs))
        tensors = {name: tf.convert_to_tensor(columns[name], dtype=spec.dtype) for name, spec in inputs.items()}
        for name, spec in inputs.items():
            if not spec.shape.is_compatible_with(tensors[name].shape):
                raise ValueError(f"the input {name} has the shape {tensors[name].shape}, not {spec.shape}")
        outputs = {name: _plain(value.numpy()) for name, value in signature(**tensors).items()}
        if len(outputs) == 1:
            (values,) = outputs.values()
            return list(values)
        return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]

    # The model is kept by its signature only weakly.
    predict.model = model  # type: ignore[attr-defined]
    return predict


def _columns(rows: list[Any], names: list[str]) -> dict[str, list[Any]]:
    """Turn rows into a column for each input."""
    if isinstance(rows[0], dict):
        return {name: [row[name] for row in rows] for name in names}
    if len(names) != 1:
        raise ValueError(f"each instance must be an object that names the inputs {', '.join(names)}")
    return {names[0]: rows}


def _plain(values: Any) -> Any:
    """Return an array as lists; bytes become text."""
    if values.dtype == object:
        return [_text(value) for value in values.tolist()]
    return values.tolist()


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(part) for part in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
