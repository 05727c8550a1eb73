"""What the lines of import files say of their items: https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data."""

from __future__ import annotations

from typing import Any

# The label that says what an item is for.
ML_USE = "aiplatform.googleapis.com/ml_use"
OF_USE = {"training": "training", "validation": "validation", "test": "test", "unassigned": ""}


def labels_of(content: Any) -> dict[str, str]:
    """Return the labels of an item: those that its JSON object gives, or the use in the first field of a CSV line."""
    if isinstance(content, dict):
        given = content.get("dataItemResourceLabels")
        return {key: value for key, value in given.items() if isinstance(value, str)} if isinstance(given, dict) else {}
    use = OF_USE.get(content[0].strip().lower(), "") if isinstance(content, list) and content else ""
    return {ML_USE: use} if use else {}


def count_annotations(content: Any) -> int:
    """Return the number of annotations of an item; what follows the file in a CSV line is one."""
    if isinstance(content, dict):
        lists = [value for key, value in content.items() if key.endswith("Annotations") and _is_list(value)]
        single = [value for key, value in content.items() if key.endswith("Annotation") and value]
        return len(single) + sum(map(len, lists))
    fields = content if _is_list(content) else []
    has_use = bool(fields) and str(fields[0]).strip().lower() in OF_USE
    return int(any(str(field).strip() for field in fields[1 + has_use :]))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
