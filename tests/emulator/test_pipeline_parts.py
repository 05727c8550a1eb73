"""The parts of compiled pipelines without a server: conditions, placeholders, values, commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_tasks.emulator.pipelines import ir, placeholders, python_component, values
from edge_tasks.emulator.pipelines.conditions import ConditionError, compile_condition
from edge_tasks.emulator.runtime.images import runs_local_python
from edge_tasks.emulator.services.pipeline_operators import _without_empty

COMPILED = Path(__file__).parent / "pipelines"
PARAMETERS: Mapping[str, Any] = {"n": 3, "s": "heads", "f": 0.5, "b": True, "quote": "it's", "empty": ""}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("inputs.parameter_values['s'] == 'heads'", True),
        ("inputs.parameter_values['s'] != 'heads'", False),
        ("int(inputs.parameter_values['n']) > 2", True),
        ("int(inputs.parameter_values['n']) <= 2", False),
        ("double(inputs.parameter_values['f']) >= 0.5", True),
        ("inputs.parameter_values['b'] == true", True),
        # kfp writes a boolean of Python as a text.
        ("inputs.parameter_values['b'] == 'true'", True),
        ("inputs.parameter_values['quote'] == 'it\\'s'", True),
        ("inputs.parameter_values['empty'] == ''", True),
        ("!(inputs.parameter_values['s'] == 'heads') || inputs.parameter_values['n'] < 4", True),
        ("!(inputs.parameter_values['s'] == 'heads' || inputs.parameter_values['n'] < 4)", False),
        ("inputs.parameter_values['s'] == 'heads' && inputs.parameter_values['n'] == 4", False),
        # `&&` binds more than `||`.
        ("true || false && false", True),
        ("inputs.parameter_values['s'] == inputs.parameter_values['s']", True),
        ("string(inputs.parameter_values['n']) == '3'", True),
        ("-1.5e0 < 0", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert compile_condition(text)(PARAMETERS) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 ==",
        "(1 == 1",
        "1 == 1 1",
        "__import__('os').system('true')",
        "inputs.parameter_values.get('n')",
        "inputs.artifacts['n'] == 1",
        "open('/etc/passwd')",
        "1 + 1 == 2",
        "'a' == `a`",
        "(" * 300 + "true" + ")" * 300,
        "inputs.parameter_values[n] == 1",
    ],
)
def test_what_is_no_condition_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ConditionError):
        compile_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "inputs.parameter_values['m'] == 1",
        "inputs.parameter_values['s'] > 1",
        "inputs.parameter_values['n']",
        "int('x') == 1",
    ],
)
def test_conditions_that_their_values_do_not_suit(text: str) -> None:
    with pytest.raises(ConditionError):
        compile_condition(text)(PARAMETERS)


ARTIFACT = {"name": "n", "uri": "gs://bucket/a b", "metadata": {"rows": 3, "resourceName": "models/1"}}
EXECUTOR_INPUT: dict[str, Any] = {
    "inputs": {
        "parameterValues": {"n": 3, "text": "t", "list": [1, "a"], "none": None},
        "artifacts": {"data": {"artifacts": [ARTIFACT]}},
    },
    "outputs": {
        "parameters": {"out": {"outputFile": "/gcs/bucket/out"}},
        "artifacts": {"model": {"artifacts": [{"uri": "gs://bucket/model"}]}},
        "outputFile": "/gcs/bucket/executor_output.json",
    },
}
NAMES = {"pipeline_job_uuid": "17"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{$.inputs.parameters['n']}}", "3"),
        ("{{$.inputs.parameters[''text'']}}-{{$.inputs.parameters['n']}}", "t-3"),
        ("{{$.inputs.parameters['list']}}", '[1, "a"]'),
        ("{{$.inputs.parameters['none']}}", "null"),
        ("{{$.outputs.parameters['out'].output_file}}", "/gcs/bucket/out"),
        ("{{$.inputs.artifacts['data'].uri}}", "gs://bucket/a b"),
        ("{{$.inputs.artifacts['data'].path}}", "/gcs/bucket/a b"),
        ("{{$.inputs.artifacts['data'].metadata['resourceName']}}", "models/1"),
        ("{{$.outputs.artifacts['model'].path}}", "/gcs/bucket/model"),
        ("{{$.outputs.output_file}}", "/gcs/bucket/executor_output.json"),
        ("job {{$.pipeline_job_uuid}}", "job 17"),
        ("no {{placeholder}} {{ $.x }}", "no {{placeholder}} {{ $.x }}"),
    ],
)
def test_placeholders(text: str, found: str) -> None:
    assert placeholders.resolve(text, EXECUTOR_INPUT, NAMES) == found


@pytest.mark.parametrize(
    "text", ["{{$.inputs.artifacts['x'].metadata['a']}}{{$.nothing}}", "{{$.outputs.parameters['x'].output_file}}"]
)
def test_placeholders_that_name_nothing(text: str) -> None:
    with pytest.raises(placeholders.PlaceholderError):
        placeholders.resolve(text, EXECUTOR_INPUT, NAMES)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ('{"IfPresent": {"InputName": "n", "Then": ["--n", "{{$.inputs.parameters[\'n\']}}"]}}', ["--n", "3"]),
        ('{"IfPresent": {"InputName": "none", "Then": ["--none"]}}', []),
        ('{"IfPresent": {"InputName": "none", "Then": "a", "Else": "b"}}', ["b"]),
        (
            '{"Concat": ["a", {"IfPresent": {"InputName": "data", "Then": "b"}}, "{{$.inputs.parameters[\'n\']}}"]}',
            ["ab3"],
        ),
        ('{"IfPresent": {"InputName": "n", "Then": {"Concat": ["x", {"Concat": ["y", "z"]}]}}}', ["xyz"]),
        ('{"Other": 1}', ['{"Other": 1}']),
    ],
)
def test_words_that_may_be_absent(part: str, words: list[str]) -> None:
    assert placeholders.words([part], EXECUTOR_INPUT, NAMES) == words


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("NUMBER_INTEGER", 3.0, 3),
        ("NUMBER_DOUBLE", 3, 3.0),
        ("LIST", [1.0, {"a": 2.0}], [1, {"a": 2}]),
        ("STRING", 3, "3"),
        ("NUMBER_INTEGER", "3", 3),
        ("BOOLEAN", "True", True),
        ("STRUCT", '{"a": 1}', {"a": 1}),
    ],
)
def test_values_by_their_type(kind: str, given: Any, value: Any) -> None:
    found = values.cast(kind, given, "n")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("NUMBER_INTEGER", 1.5),
        ("NUMBER_INTEGER", True),
        ("BOOLEAN", 1),
        ("LIST", {}),
        ("STRUCT", "[1]"),
        ("BOOLEAN", "maybe"),
    ],
)
def test_values_of_another_type(kind: str, given: Any) -> None:
    with pytest.raises(values.ValueTypeError, match="'n'"):
        values.cast(kind, given, "n")


def test_parts_of_values() -> None:
    assert values.selected('parseJson(string_value)["a"]', {"a": 1}) == 1
    assert values.selected("parseJson(string_value)['a'][1]", '{"a": [1, 2]}') == 2
    for selector, value in (
        ('parseJson(string_value)["b"]', {"a": 1}),
        ("exec(value)", {}),
        ("parseJson(string_value)[0]", "{"),
    ):
        with pytest.raises(values.ValueTypeError):
            values.selected(selector, value)


def test_the_command_of_a_python_component_is_understood_or_left_alone() -> None:
    spec = yaml.safe_load((COMPILED / "two-steps.yaml").read_text())
    command = spec["deploymentSpec"]["executors"]["exec-make"]["container"]["command"]
    found = python_component.read(command)
    assert found is not None
    assert (found.kfp, found.requirements, found.options) == ("kfp==2.17.3", ("packaging",), ())
    assert "def make(" in found.source
    indexed = command[2].replace("'packaging'", "--index-url https://here/simple --trusted-host here 'packaging>=20'")
    found = python_component.read([*command[:2], indexed, *command[3:]])
    assert found is not None
    assert (found.requirements, found.options) == (("packaging>=20",), ("--index-url", "https://here/simple"))
    for other in (
        command[:-1],
        ["sh", "-c", "echo", *command[3:]],
        [*command[:2], command[2].replace("'packaging'", "--editable ."), *command[3:]],
    ):
        assert python_component.read(other) is None


def test_waits_between_attempts_grow_to_their_limit() -> None:
    retry = ir.Retry(most=5, wait=1.0, factor=3.0, longest_wait=10.0)
    assert [retry.seconds(attempt) for attempt in range(1, 5)] == [1.0, 3.0, 9.0, 10.0]


def test_circles_are_refused() -> None:
    spec = yaml.safe_load((COMPILED / "two-steps.yaml").read_text())
    spec["root"]["dag"]["tasks"]["make"]["dependentTasks"] = ["measure"]
    with pytest.raises(ir.SpecError, match="wait for each other"):
        ir.read(spec)
    spec = yaml.safe_load((COMPILED / "branches.yaml").read_text())
    spec["components"]["comp-four-times"]["dag"]["tasks"]["double"]["componentRef"]["name"] = "comp-four-times"
    with pytest.raises(ir.SpecError, match="contains itself"):
        ir.read(spec)


def test_secrets_of_a_cluster_are_refused() -> None:
    spec = yaml.safe_load((COMPILED / "two-steps.yaml").read_text())
    with pytest.raises(ir.UnsupportedError, match="kubernetes"):
        ir.read({**spec, "platforms": {"kubernetes": {}}})


def test_what_is_empty_is_not_asked_for() -> None:
    given = {"a": "", "b": {"c": {}, "d": [{}, 1, ""]}, "e": {"f": None}, "g": 0, "h": "x"}
    assert _without_empty(given) == {"b": {"d": [1, ""]}, "h": "x"}


@pytest.mark.parametrize(
    ("image", "is_plain"),
    [
        ("python:3.11", True),
        ("mirror.gcr.io/library/python:3.10-slim", True),
        ("public.ecr.aws/docker/library/python:3.12", True),
        ("public.ecr.aws/mine/python:3.12", False),
        ("python-with-more:3.11", False),
    ],
)
def test_dockers_python_is_known_by_its_mirrors(image: str, is_plain: bool) -> None:
    assert runs_local_python(image) is is_plain
