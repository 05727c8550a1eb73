"""What stands for values in commands and constants: `{{$.inputs.parameters['n']}}`, and parts that may be absent.

https://www.kubeflow.org/docs/components/pipelines/user-guides/components/container-components/ ; a placeholder within a
text becomes text, a number or a list as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edge_tasks.emulator.pipelines.values import text_of

PLACEHOLDER = re.compile(r"\{\{\$(?:\.([^{}]*))?\}\}")
INPUT_PARAMETER = re.compile(r"inputs\.parameters\[''?([^']+)''?\]")
OUTPUT_PARAMETER = re.compile(r"outputs\.parameters\[''?([^']+)''?\]\.output_file")
ARTIFACT = re.compile(r"(inputs|outputs)\.artifacts\[''?([^']+)''?\]\.(uri|path|metadata|name)((?:\[''?[^']+''?\])*)")
LIST_OF_ARTIFACTS = re.compile(r"inputs\.artifacts\[''?([^']+)''?\]")
KEY = re.compile(r"\[''?([^']+)''?\]")
STRUCTS = ('{"IfPresent"', '{"Concat"')


class PlaceholderError(ValueError):
    """A placeholder names what is not there."""


def resolve(text: str, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return a text with its placeholders replaced; `names` are those of the pipeline job: `pipeline_job_uuid`."""

    def value(match: re.Match[str]) -> str:
        path = match[1]
        if path is None:
            return json.dumps(executor_input)
        found = names.get(path)
        return found if found is not None else text_of(_read(path, executor_input))

    return PLACEHOLDER.sub(value, text)


def resolve_all(value: Any, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Return JSON with the placeholders in its texts replaced; a text that is one placeholder becomes its value."""
    if isinstance(value, dict):
        return {
            resolve(key, executor_input, names): resolve_all(part, executor_input, names) for key, part in value.items()
        }
    if isinstance(value, list):
        return [resolve_all(part, executor_input, names) for part in value]
    if not isinstance(value, str):
        return value
    match = PLACEHOLDER.fullmatch(value)
    if match and match[1] and INPUT_PARAMETER.fullmatch(match[1]):
        return _read(match[1], executor_input)
    return resolve(value, executor_input, names)


def words(parts: list[str], executor_input: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Return the words of a command: optional parts chosen, concatenated ones joined, placeholders replaced."""
    inputs = executor_input.get("inputs", {})
    present = {name for name, value in inputs.get("parameterValues", {}).items() if value is not None}
    present |= set(inputs.get("artifacts", {}))
    found: list[str] = []
    for part in parts:
        if not part.startswith(STRUCTS):
            found.append(part)
            continue
        try:
            chosen = _chosen(json.loads(part), present)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PlaceholderError(f"{part[:200]!r} is neither IfPresent nor Concat.") from None
        found += chosen if isinstance(chosen, list) else [chosen] if chosen is not None else []
    return [resolve(word, executor_input, names) for word in found]


def _chosen(part: Any, present: set[str]) -> Any:
    """Return a word, a list of words, or None of a part that may be absent."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        flat: list[str] = []
        for each in part:
            chosen = _chosen(each, present)
            flat += chosen if isinstance(chosen, list) else [chosen] if chosen is not None else []
        return flat
    if "Concat" in part:
        return "".join(_chosen(part["Concat"], present))
    choice = part["IfPresent"]
    return (
        _chosen(choice["Then"], present)
        if choice["InputName"] in present
        else _chosen(choice.get("Else") or [], present)
    )


def _read(path: str, executor_input: Mapping[str, Any]) -> Any:
    if path in {"outputs.output_file", "outputMetadataUri"}:
        return executor_input["outputs"]["outputFile"]
    try:
        if match := INPUT_PARAMETER.fullmatch(path):
            return executor_input["inputs"]["parameterValues"].get(match[1])
        if match := OUTPUT_PARAMETER.fullmatch(path):
            return executor_input["outputs"]["parameters"][match[1]]["outputFile"]
        if match := ARTIFACT.fullmatch(path):
            return _of_artifact(executor_input[match[1]]["artifacts"].get(match[2]), match[3], KEY.findall(match[4]))
        if match := LIST_OF_ARTIFACTS.fullmatch(path):
            return executor_input["inputs"]["artifacts"][match[1]]["artifacts"]
    except (KeyError, IndexError, TypeError):
        raise PlaceholderError(f"The placeholder {{{{$.{path}}}}} names what the task does not have.") from None
    raise PlaceholderError(f"The placeholder {{{{$.{path}}}}} is not known.")


def _of_artifact(found: Any, what: str, keys: list[str]) -> Any:
    if found is None:
        # An optional artifact that is not given.
        return ""
    artifact = found["artifacts"][0]
    if what == "path":
        return path_of(artifact["uri"])
    value = artifact.get(what, {} if what == "metadata" else "")
    for key in keys:
        value = value[key]
    return value


def path_of(uri: str) -> str:
    """Return where a task finds a URI as a file: `gs://bucket/x` is /gcs/bucket/x."""
    for scheme, folder in (("gs://", "/gcs/"), ("minio://", "/minio/"), ("s3://", "/s3/")):
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri
