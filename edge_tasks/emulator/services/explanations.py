"""PredictionService, explanations: https://cloud.google.com/vertex-ai/docs/explainable-ai/overview.

Sampled Shapley, for whatever serves the model; the other methods look into a TensorFlow graph, or into a database of
examples, and are refused by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from edge_tasks.emulator.errors import invalid, not_found, precondition, unimplemented
from edge_tasks.emulator.rpc.values import from_value, into_value
from edge_tasks.emulator.services.predictions import SERVICE, read_answer
from edge_tasks.emulator.serving import shapley
from edge_tasks.emulator.serving.model_server import SECONDS_TO_PREDICT

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.deployments import Deployments
    from edge_tasks.emulator.services.models import Models

METHOD = "sampled_shapley_attribution"


class Explanations:
    """Explains predictions."""

    service = SERVICE

    def __init__(self, context: Context, deployments: Deployments, models: Models) -> None:
        self._context = context
        self._deployments = deployments
        self._models = models

    async def explain(self, request: Message) -> Message:
        """Answer `:explain`."""
        if not request.instances:
            raise invalid("instances is required: a list of what to explain.")
        endpoint = self._context.database.get("Endpoint", request.endpoint)
        deployed = _choose(endpoint, request.deployed_model_id)
        spec = self._spec(deployed, request)
        parameters = from_value(request.parameters) if request.HasField("parameters") else None
        server = self._deployments.server(endpoint.name, deployed)

        async def predict(instances: list[Any]) -> list[Any]:
            content = {"instances": instances} | ({"parameters": parameters} if parameters is not None else {})
            answer = await server.predict(orjson.dumps(content), limit=SECONDS_TO_PREDICT)
            predictions: list[Any] = read_answer(answer)["predictions"]
            return predictions

        instances = [from_value(instance) for instance in request.instances]
        response = self._context.surface.new("ExplainResponse", deployed_model_id=deployed.id)
        for prediction in await predict(instances):
            into_value(prediction, response.predictions.add())
        for instance in instances:
            explanation = response.explanations.add()
            for found in await _explain(spec, instance, predict):
                _write(explanation.attributions.add(), found, spec)
        return response

    def _spec(self, deployed: Message, request: Message) -> Message:
        """Return how the model is explained: by what was said at its upload, its deployment, and in the request."""
        spec = type(deployed.explanation_spec)()
        spec.CopyFrom(self._models.version(f"{deployed.model}@{deployed.model_version_id}").message.explanation_spec)
        spec.MergeFrom(deployed.explanation_spec)
        override = request.explanation_spec_override
        if override.HasField("examples_override"):
            raise unimplemented(f"{SERVICE}.Explain with examples_override is not implemented by this emulator.")
        if override.parameters.WhichOneof("method"):
            spec.parameters.CopyFrom(override.parameters)
        for name, given in override.metadata.inputs.items():
            if given.input_baselines:
                del spec.metadata.inputs[name].input_baselines[:]
                spec.metadata.inputs[name].input_baselines.extend(given.input_baselines)
        method = spec.parameters.WhichOneof("method")
        if method is None or deployed.disable_explanations:
            raise precondition(f"The model {deployed.model} has no explanation_spec: give one when it is uploaded.")
        if method != METHOD:
            raise unimplemented(f"{SERVICE}.Explain with {method} is not implemented by this emulator, only {METHOD}.")
        if not 1 <= spec.parameters.sampled_shapley_attribution.path_count <= shapley.MOST_PATHS:
            raise invalid(f"{METHOD}.path_count must be from 1 to {shapley.MOST_PATHS}.")
        if not spec.metadata.inputs:
            raise invalid("explanation_spec.metadata.inputs is required.")
        return spec


def _choose(endpoint: Message, deployed_model_id: str) -> Message:
    """Return the model that was asked for, else the one with the most traffic."""
    split = endpoint.traffic_split
    models = {deployed.id: deployed for deployed in endpoint.deployed_models}
    if deployed_model_id:
        if deployed_model_id not in models:
            raise not_found("DeployedModel", deployed_model_id)
        return models[deployed_model_id]
    found = [deployed for deployed in models.values() if split.get(deployed.id, 0)]
    if not found:
        raise precondition(f"Endpoint {endpoint.name} doesn't have traffic_split.")
    return max(found, key=lambda deployed: split[deployed.id])


async def _explain(spec: Message, instance: Any, predict: Any) -> list[shapley.Attribution]:
    inputs = spec.metadata.inputs
    named = isinstance(instance, dict)
    if not named and len(inputs) != 1:
        raise invalid(f"The model has {len(inputs)} inputs: an instance must be an object with {', '.join(inputs)}.")
    content = instance if named else {next(iter(inputs)): instance}
    explained = {name: value for name, value in content.items() if name in inputs}
    if not explained:
        raise invalid(f"The instance has none of the inputs of explanation_spec.metadata: {', '.join(inputs)}.")
    baseline = {name: _baseline(name, value, inputs[name]) for name, value in explained.items()}

    async def ask(contents: list[dict[str, Any]]) -> list[Any]:
        if named:
            return list(await predict([{**instance, **part} for part in contents]))
        return list(await predict([next(iter(part.values())) for part in contents]))

    parameters = spec.parameters
    indices = [int(value.number_value) for value in parameters.output_indices.values]
    paths = parameters.sampled_shapley_attribution.path_count
    return await shapley.explain(explained, baseline, paths, indices, ask)


def _baseline(name: str, value: Any, metadata: Message) -> Any:
    """Return what an input is without information: what the model's author says, else zeros."""
    if metadata.input_baselines:
        given = from_value(metadata.input_baselines[0])
        if isinstance(value, list) and not isinstance(given, list):
            return [given] * len(value)
        if isinstance(value, list) != isinstance(given, list) or (isinstance(value, list) and len(value) != len(given)):
            raise invalid(f"The input_baselines of {name!r} have not the shape of the instance.")
        return given
    flat = value if isinstance(value, list) else [value]
    if not all(isinstance(part, (int, float)) for part in flat):
        raise invalid(f"The input {name!r} is not made of numbers, so it needs input_baselines.")
    return [0] * len(flat) if isinstance(value, list) else 0


def _write(message: Message, found: shapley.Attribution, spec: Message) -> None:
    message.baseline_output_value, message.instance_output_value = found.baseline, found.output
    message.approximation_error = found.error
    message.output_index.extend([-1] if found.index is None else [found.index])
    if spec.metadata.outputs:
        message.output_name = next(iter(spec.metadata.outputs))
    into_value(found.shares, message.feature_attributions)
