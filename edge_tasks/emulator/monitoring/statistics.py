"""How the values of a feature are distributed, as tensorflow.metadata.v0.DatasetFeatureStatistics says it in JSON.

https://github.com/tensorflow/metadata/blob/master/tensorflow_metadata/proto/v0/statistics.proto. Counts are texts, as
64-bit numbers are in protobuf's JSON.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edge_tasks.emulator.monitoring.distance import BINS

# So many categories are listed by name.
RANKS = 50


def described(name: str, values: Sequence[Any], *, numeric: bool) -> dict[str, Any]:
    """Return the statistics of one feature; missing values are None."""
    there = [value for value in values if value is not None]
    common = {
        "numNonMissing": str(len(there)), "numMissing": str(len(values) - len(there)), "minNumValues": "1",
        "maxNumValues": "1", "avgNumValues": 1.0, "totNumValues": str(len(there)),
    }  # fmt: skip
    feature: dict[str, Any] = {"path": {"step": [name]}}
    if numeric:
        feature |= {"type": "FLOAT", "numStats": {"commonStats": common, **_numbers(there)}}
    else:
        feature |= {"type": "STRING", "stringStats": {"commonStats": common, **_texts(there)}}
    return {"numExamples": str(len(values)), "features": [feature]}


def _numbers(values: Sequence[float]) -> dict[str, Any]:
    values = [float(value) for value in values if math.isfinite(value)]
    if not values:
        return {}
    low, high = min(values), max(values)
    width = (high / BINS - low / BINS) or 1.0
    counts = Counter(min(BINS - 1, int(value / width - low / width)) for value in values)
    buckets = [
        {"lowValue": low + place * width, "highValue": low + (place + 1) * width, "sampleCount": float(counts[place])}
        for place in range(BINS)
    ]
    return {
        "mean": statistics.fmean(values),
        "stdDev": statistics.pstdev(values),
        "numZeros": str(values.count(0.0)),
        "min": low,
        "median": statistics.median(values),
        "max": high,
        "histograms": [{"buckets": buckets, "type": "STANDARD"}],
    }


def _texts(values: Sequence[Any]) -> dict[str, Any]:
    counts = Counter(map(str, values))
    buckets = [
        {"lowRank": str(rank), "highRank": str(rank), "label": label, "sampleCount": float(count)}
        for rank, (label, count) in enumerate(counts.most_common(RANKS))
    ]
    return {
        "unique": str(len(counts)),
        "topValues": [{"value": bucket["label"], "frequency": bucket["sampleCount"]} for bucket in buckets[:2]],
        "rankHistogram": {"buckets": buckets},
    }
