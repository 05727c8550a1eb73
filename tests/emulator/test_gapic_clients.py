"""Clients of the SDK's lower layer, as Google's samples make them, in a job: they reach the emulator unchanged."""

from __future__ import annotations

import pytest

from tests.emulator.harness import ECHO, NUMBERED, PARENT, Emulator

PROGRAM = f"""
import sys
from google.cloud import aiplatform_v1, aiplatform_v1beta1
from google.protobuf import json_format, struct_pb2

# As in https://github.com/googleapis/python-aiplatform/tree/main/samples/snippets, and with the default address.
options = {{"api_endpoint": "us-central1-aiplatform.googleapis.com"}}
predictions = aiplatform_v1.PredictionServiceClient(client_options=options)
instance = json_format.ParseDict([1.0, 2.0], struct_pb2.Value())
print(list(predictions.predict(endpoint=sys.argv[1], instances=[instance]).predictions[0]))
for module in (aiplatform_v1, aiplatform_v1beta1):
    found = module.EndpointServiceClient().list_endpoints(parent={PARENT!r})
    print(sys.argv[1] in [endpoint.name for endpoint in found])
print(type(aiplatform_v1.JobServiceClient(transport="grpc").transport).__name__)
from google.cloud import resourcemanager
print(resourcemanager.ProjectsClient().get_project(name="projects/test-project").name)
"""


@pytest.mark.slow
def test_clients_that_a_job_makes_itself_reach_the_emulator_by_rest(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    assert endpoint.startswith(NUMBERED)
    job = emulator.run_job(["python", "-c", PROGRAM, endpoint])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job["error"]["message"]
    project = NUMBERED.partition("/locations/")[0]
    assert emulator.output(job)[-5:] == ["[1.0, 2.0]", "True", "True", "JobServiceGrpcTransport", project]


BY_GRPC = f"""
import asyncio, sys
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1
from google.protobuf import json_format, struct_pb2

def value(content):
    return json_format.ParseDict(content, struct_pb2.Value())

options = {{"api_endpoint": "us-central1-aiplatform.googleapis.com"}}
predictions = aiplatform_v1.PredictionServiceClient(client_options=options, transport="grpc")
answer = predictions.predict(endpoint=sys.argv[1], instances=[value([1.0, {{"a": [None, True, "x"]}}])])
print(json_format.MessageToDict(answer._pb)["predictions"], answer.model_version_id)
body = {{"data": b'{{"instances": [7]}}', "content_type": "application/json"}}
raw = predictions.raw_predict(endpoint=sys.argv[1], http_body=body)
print(raw.data.decode())
streamed = predictions.stream_raw_predict(endpoint=sys.argv[1], http_body={{"data": b'{{"instances": [8]}}'}})
print(b"".join(part.data for part in streamed).decode())
for module in (aiplatform_v1, aiplatform_v1beta1):
    endpoints = module.EndpointServiceClient(transport="grpc")
    print(sys.argv[1] in [found.name for found in endpoints.list_endpoints(parent={PARENT!r})])
    made = endpoints.create_endpoint(parent={PARENT!r}, endpoint=module.Endpoint(display_name="by gRPC")).result()
    print(made.display_name, endpoints.delete_endpoint(name=made.name).result() is not None)
try:
    endpoints.get_endpoint(name={PARENT!r} + "/endpoints/123")
except exceptions.NotFound as error:
    print(error.grpc_status_code.name)
try:
    endpoints.get_endpoint(name="endpoints/123")
except exceptions.InvalidArgument as error:
    print(error.message)
try:
    predictions.predict(endpoint=sys.argv[1], instances=[])
    predictions.predict(endpoint=sys.argv[1], instances=[value("x" * 2000000)])
except exceptions.FailedPrecondition as error:
    print("1.500MB limit" in error.message)
try:
    resources = {{"flex_start": {{"max_runtime_duration": {{"seconds": 300}}}}}}
    endpoints.deploy_model(endpoint=sys.argv[1], deployed_model={{"model": "x", "dedicated_resources": resources}})
except exceptions.InvalidArgument as error:
    print(error.message.partition(" number")[0], error.message.partition(" of ")[2])

async def later():
    endpoint = aiplatform.Endpoint(sys.argv[1])
    print((await endpoint.predict_async([[5.0]])).predictions)
    client = aiplatform_v1.EndpointServiceAsyncClient()
    print((await client.get_endpoint(name=sys.argv[1])).name == sys.argv[1])

aiplatform.init(project="test-project", location="us-central1")
asyncio.run(later())
"""


@pytest.mark.slow
def test_clients_that_go_by_grpc_get_the_same_answers(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    job = emulator.run_job(["python", "-c", BY_GRPC, endpoint])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job["error"]["message"]
    # The SDK says that asynchronous REST would need credentials of another kind, and goes by gRPC.
    said = ("WARNING:root:REST async", "Falling back to grpc")
    assert [line for line in emulator.output(job) if not line.startswith(said)] == [
        "[[1.0, {'a': [None, True, 'x']}]] 1",
        '{"predictions":[7]}',
        '{"predictions":[8]}',
        *["True", "by gRPC True"] * 2,
        "NOT_FOUND",
        "Invalid name: it must be the name of a resource, such as projects/*/locations/*/endpoints/*.",
        "True",
        "Unknown field DedicatedResources in DeployModel.",
        "[[5.0]]",
        "True",
    ]
