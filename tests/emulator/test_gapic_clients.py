"""Clients of the SDK's lower layer, as Google's samples make them, in a job: they reach the emulator unchanged."""

from __future__ import annotations

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
"""


def test_clients_that_a_job_makes_itself_reach_the_emulator_by_rest(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    assert endpoint.startswith(NUMBERED)
    job = emulator.run_job(["python", "-c", PROGRAM, endpoint])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job["error"]["message"]
    assert emulator.output(job)[-4:] == ["[1.0, 2.0]", "True", "True", "JobServiceGrpcTransport"]
