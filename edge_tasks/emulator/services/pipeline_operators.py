"""Google's own operators (google-cloud-pipeline-components), carried out by the emulator's own services.

https://google-cloud-pipeline-components.readthedocs.io

Each is a container whose program calls Vertex AI and waits. Here the container is not run: what it would ask for is
read from its command, and asked for as a client would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import json_format

from edge_tasks.emulator.errors import ApiError, Code, invalid, unimplemented
from edge_tasks.emulator.services.names import parse_model, project_and_location
from edge_tasks.emulator.services.registry import snake_case

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context

IMAGE = "google-cloud-pipeline-components"
LAUNCHERS = "google_cloud_pipeline_components.container."
GET_MODEL = f"{LAUNCHERS}v1.model.get_model.launcher"
SDK_CALLS = f"{LAUNCHERS}v1.aiplatform.remote_runner"
VERTEX = "google.cloud.aiplatform.v1"
TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
SECONDS_BETWEEN_LOOKS = 0.1
FINAL = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
Handlers: TypeAlias = Mapping[str, Callable[[Any], Awaitable[Any]]]


@dataclass(frozen=True)
class Call:
    """One call of an operator: where, its words, what it is told, the run's labels, and whom it tells of a job."""

    parent: str
    words: list[str]
    executor_input: Mapping[str, Any]
    labels: Mapping[str, str]
    note_job: Callable[[str], None]

    def option(self, name: str) -> str:
        """Return the value of an option; empty when it is not there."""
        for index, word in enumerate(self.words[:-1]):
            if word == f"--{name}":
                return self.words[index + 1]
        return ""

    @property
    def location(self) -> str:
        """Where the operator works, which may be another location than the pipeline's."""
        project, location = self.option("project"), self.option("location")
        own_project, own_location = project_and_location(self.parent)
        return f"projects/{project or own_project}/locations/{location or own_location}"

    def payload(self) -> dict[str, Any]:
        """Return what it is to ask for."""
        try:
            found = json.loads(self.option("payload"), strict=False)
        except ValueError as error:
            raise invalid(f"The payload of the operator is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise invalid("The payload of the operator is not an object.")
        return found

    def labelled(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return a resource with the labels of the run."""
        return {**payload, "labels": {**(payload.get("labels") or {}), **self.labels}}

    def input_artifact(self, name: str) -> Mapping[str, Any] | None:
        """Return an input artifact; None when it is not given."""
        found = self.executor_input.get("inputs", {}).get("artifacts", {}).get(name, {}).get("artifacts")
        return found[0] if found else None


Operator: TypeAlias = Callable[[Call], Awaitable[dict[str, Any]]]


class Operators:
    """Finds the operator that a container stands for. `connect` gives it the services that it asks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handlers: Handlers = {}
        self._by_type: dict[str, Operator] = {
            "CustomJob": lambda call: self._job(call, "CustomJob", "job_spec"),
            "HyperparameterTuningJob": lambda call: self._job(call, "HyperparameterTuningJob", "trial_job_spec"),
            "BatchPredictionJob": self._predict_batch,
            "UploadModel": self._upload_model,
            "DeleteModel": self._delete_model,
            "CreateEndpoint": self._create_endpoint,
            "DeleteEndpoint": self._delete_endpoint,
            "DeployModel": self._deploy_model,
            "UndeployModel": self._undeploy_model,
        }

    def connect(self, handlers: Handlers) -> None:
        """Take the methods of the services, by the full names of their RPCs."""
        self._handlers = handlers

    def find(self, container: Mapping[str, Any]) -> Operator | None:
        """Return the operator of a container; None when it is another one."""
        command = list(container.get("command") or [])
        launcher = next((word for word in command if word.startswith(LAUNCHERS)), None)
        if launcher is None or IMAGE not in str(container.get("image") or ""):
            return None
        words = [*command, *(container.get("args") or [])]
        if launcher == GET_MODEL:
            return self._get_model
        asked = _after(words, "--type")
        if launcher == SDK_CALLS:
            asked = f"{_after(words, '--cls_name')}.{_after(words, '--method_name')}"
            if asked == "TabularDataset.create":
                return self._create_dataset
        found = self._by_type.get(asked)
        if found is None:
            implemented = ", ".join([*self._by_type, "GetModel", "TabularDataset.create"])
            name = asked or launcher.removeprefix(LAUNCHERS)
            raise unimplemented(
                f"The operator {name} of google-cloud-pipeline-components is not implemented by this emulator: it has"
                f" {implemented}."
            )
        return found

    async def _job(self, call: Call, kind: str, spec: str) -> dict[str, Any]:
        payload = _without_empty(call.labelled(call.payload()))
        if not payload.get(spec):
            raise invalid(f"The payload of the operator has no {spec}.")
        job = await self._run_job(call, kind, payload)
        return _outputs(_resource(kind, job["name"]))

    async def _predict_batch(self, call: Call) -> dict[str, Any]:
        payload = call.labelled(call.payload())
        unmanaged = call.input_artifact("unmanaged_container_model")
        if unmanaged is not None:
            model = dict(unmanaged.get("metadata") or {})
            payload["unmanaged_container_model"] = {**model, "artifact_uri": unmanaged.get("uri")}
        job = await self._run_job(call, "BatchPredictionJob", _without_empty(payload))
        written = job.get("outputInfo", {}).get("gcsOutputDirectory", "")
        artifacts = {
            "batchpredictionjob": _artifact(job["name"], {"gcsOutputDirectory": written}),
            "gcs_output_directory": {"uri": written},
        }
        return _outputs(_resource("BatchPredictionJob", job["name"]), artifacts)

    async def _run_job(self, call: Call, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Create a job and wait for its end; ApiError when it fails. Cancelling this cancels it."""
        field = snake_case(kind)
        created = await self._ask(f"JobService.Create{kind}", {"parent": call.location, field: payload})
        name = created["name"]
        if kind == "CustomJob":
            call.note_job(name)
        try:
            while True:
                job = await self._ask(f"JobService.Get{kind}", {"name": name})
                if job["state"] in FINAL:
                    break
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        except asyncio.CancelledError:
            await asyncio.shield(self._ask(f"JobService.Cancel{kind}", {"name": name}))
            raise
        if job["state"] != "JOB_STATE_SUCCEEDED":
            error = job.get("error") or {}
            raise ApiError(
                Code.of(int(error.get("code") or Code.CANCELLED.number)),
                f"Job failed with state {job['state']}: {name}: {error.get('message', 'it was cancelled.')}",
            )
        return job

    async def _upload_model(self, call: Call) -> dict[str, Any]:
        payload = call.labelled(call.payload())
        # Vertex AI notes the pipeline by itself.
        payload.pop("pipeline_job", None)
        explained = payload.get("explanation_spec", {}).get("metadata")
        unmanaged = call.input_artifact("unmanaged_container_model")
        if unmanaged is not None:
            metadata = unmanaged.get("metadata") or {}
            payload["predict_schemata"] = metadata.get("predictSchemata", {})
            payload["container_spec"] = metadata.get("containerSpec", {})
            payload["artifact_uri"] = unmanaged.get("uri")
        model = _without_empty(payload)
        if explained:
            model["explanation_spec"]["metadata"] = explained
        request = {"parent": call.location, "model": model}
        if call.option("parent_model_name"):
            request["parent_model"] = call.option("parent_model_name").rpartition("@")[0] or call.option(
                "parent_model_name"
            )
        done = await self._finished("ModelService.UploadModel", request)
        name = done["response"]["model"]
        if done["response"].get("modelVersionId"):
            name += f"@{done['response']['modelVersionId']}"
        return _outputs(_operation(done), {"model": _artifact(name)})

    async def _get_model(self, call: Call) -> dict[str, Any]:
        name = f"{call.location}/models/{call.option('model_name')}"
        model = await self._ask("ModelService.GetModel", {"name": name})
        found = f"{model['name'].partition('@')[0]}@{model['versionId']}"
        return {"artifacts": {"model": {"artifacts": [_artifact(found)]}}}

    async def _delete_model(self, call: Call) -> dict[str, Any]:
        name = parse_model(call.payload().get("model", "")).name
        return _outputs(_operation(await self._finished("ModelService.DeleteModel", {"name": name})))

    async def _create_endpoint(self, call: Call) -> dict[str, Any]:
        endpoint = _without_empty(call.labelled(call.payload()))
        done = await self._finished("EndpointService.CreateEndpoint", {"parent": call.location, "endpoint": endpoint})
        return _outputs(_operation(done), {"endpoint": _artifact(done["response"]["name"])})

    async def _delete_endpoint(self, call: Call) -> dict[str, Any]:
        name = call.payload().get("endpoint", "")
        return _outputs(_operation(await self._finished("EndpointService.DeleteEndpoint", {"name": name})))

    async def _deploy_model(self, call: Call) -> dict[str, Any]:
        request = _without_empty(call.payload())
        return _outputs(_operation(await self._finished("EndpointService.DeployModel", request)))

    async def _undeploy_model(self, call: Call) -> dict[str, Any]:
        payload = _without_empty(call.payload())
        endpoint = await self._ask("EndpointService.GetEndpoint", {"name": payload.get("endpoint", "")})
        wanted = parse_model(payload.get("model", ""))
        for deployed in endpoint.get("deployedModels", []):
            of_name = deployed["model"].partition("@")[0] == wanted.name
            if of_name and wanted.version in {None, deployed.get("modelVersionId")}:
                break
        else:
            raise invalid(f"Model {payload.get('model')} not found at endpoint {endpoint['name']}.")
        request = {"endpoint": endpoint["name"], "deployed_model_id": deployed["id"]}
        if payload.get("traffic_split"):
            request["traffic_split"] = payload["traffic_split"]
        return _outputs(_operation(await self._finished("EndpointService.UndeployModel", request)))

    async def _create_dataset(self, call: Call) -> dict[str, Any]:
        if call.option("method.bq_source"):
            raise unimplemented("A dataset of BigQuery is not implemented by this emulator.")
        source = call.option("method.gcs_source")
        try:
            uris = json.loads(source) if source.startswith("[") else [source] if source else []
            labels = json.loads(call.option("method.labels") or "{}")
        except ValueError:
            raise invalid("The sources or the labels of the dataset are not JSON.") from None
        dataset: dict[str, Any] = {
            "display_name": call.option("method.display_name"),
            "metadata_schema_uri": TABULAR,
            "labels": {**labels, **call.labels},
            "metadata": {"inputConfig": {"gcsSource": {"uri": uris}}} if uris else {},
        }
        project, place = project_and_location(call.location)
        parent = (
            f"projects/{call.option('method.project') or project}/locations/{call.option('method.location') or place}"
        )
        done = await self._finished("DatasetService.CreateDataset", {"parent": parent, "dataset": dataset})
        return {"artifacts": {"dataset": {"artifacts": [_artifact(done["response"]["name"])]}}}

    async def _finished(self, rpc: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start an operation and return it when it is done; ApiError when it fails. Cancelling this cancels it."""
        operation = await self._ask(rpc, request)
        operations = "google.longrunning.Operations"
        try:
            while not operation.get("done"):
                operation = await self._ask(f"{operations}.WaitOperation", {"name": operation["name"]})
        except asyncio.CancelledError:
            await asyncio.shield(self._ask(f"{operations}.CancelOperation", {"name": operation["name"]}))
            raise
        if "error" in operation:
            raise ApiError(Code.of(int(operation["error"]["code"])), operation["error"]["message"])
        return operation

    async def _ask(self, rpc: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call an RPC of this emulator, both ways as JSON."""
        full_name = rpc if rpc.startswith("google.") else f"{VERTEX}.{rpc}"
        surface = self._context.surface
        message: Message = surface.message_class(surface.rpcs[full_name].request_type)()
        try:
            json_format.ParseDict(dict(request), message)
        except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
            raise invalid(f"The operator asks for what {rpc} does not take: {str(error)[:500]}") from None
        answer = await self._handlers[full_name](message)
        found: dict[str, Any] = self._context.transcoder.to_json(answer, enum_numbers=False)
        return found


def _after(words: list[str], option: str) -> str:
    return next((words[index + 1] for index, word in enumerate(words[:-1]) if word == option), "")


def _without_empty(value: Any) -> Any:
    """Drop what is empty, as the operators themselves do before they ask: their payload names every field."""
    if isinstance(value, list):
        kept = [part if isinstance(part, (str, int, float)) else _without_empty(part) for part in value]
        return [part for part in kept if isinstance(part, (str, int, float)) or part]
    if isinstance(value, dict):
        parts = {name: _without_empty(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part}
    return value


def _artifact(name: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the artifact of a resource, as the operators write it."""
    location = project_and_location(name)[1]
    uri = f"https://{location}-aiplatform.googleapis.com/v1/{name}"
    return {"uri": uri, "metadata": {"resourceName": name, **(metadata or {})}}


def _resource(kind: str, name: str) -> dict[str, str]:
    location = project_and_location(name)[1]
    return {"resourceType": kind, "resourceUri": f"https://{location}-aiplatform.googleapis.com/v1/{name}"}


def _operation(operation: Mapping[str, Any]) -> dict[str, str]:
    return _resource("VertexLro", operation["name"])


def _outputs(resource: Mapping[str, str], artifacts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return outputs as an executor_output.json has them."""
    found = {name: {"artifacts": [artifact]} for name, artifact in (artifacts or {}).items()}
    return {"parameterValues": {"gcp_resources": json.dumps({"resources": [dict(resource)]})}, "artifacts": found}
