"""The HTTP surface: what is not part of it, what is not implemented, and what a web page may not do."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import pickle
import re
import socket
from typing import Any

import psutil
import pytest
import requests

from edge_tasks.emulator.http.server import bind
from tests.emulator.harness import PARENT, Answer, Code, Emulator


def test_the_health_door_tells_who_answers(emulator: Emulator) -> None:
    answer = emulator.get("/_emulator/health")
    assert answer.body == {"status": "ok", "pid": emulator.process.pid, "data": str(emulator.data)}


@pytest.mark.parametrize(
    ("method", "path", "rpc"),
    [
        ("POST", f"{PARENT}/endpoints/1:directPredict", "PredictionService.DirectPredict"),
        ("GET", f"{PARENT}/featurestores/1/entityTypes/2/features/3", "FeaturestoreService.GetFeature"),
    ],
)
def test_an_rpc_that_is_not_implemented_answers_with_its_name(
    emulator: Emulator, method: str, path: str, rpc: str
) -> None:
    answer = emulator.call(method, path)
    assert answer.error == (501, "UNIMPLEMENTED")
    assert f"google.cloud.aiplatform.v1.{rpc} " in answer.message


@pytest.mark.parametrize("path", ["/nope", "/v1/projects/p", "/v1/", "/_emulator/nope", f"/v1/{PARENT}/models:nope"])
def test_an_unknown_path_is_404_in_googles_form(emulator: Emulator, path: str) -> None:
    answer = emulator.get(path)
    assert answer.error == (404, "NOT_FOUND")
    assert answer.body["error"]["code"] == 404


def test_unknown_fields_and_parameters_are_named(emulator: Emulator) -> None:
    field = emulator.post(f"{PARENT}/endpoints", {"displayName": "x", "colour": "red"})
    assert field.error == (400, "INVALID_ARGUMENT")
    assert '"colour"' in field.message
    parameter = emulator.get(f"{PARENT}/endpoints", params={"colour": "red"})
    assert parameter.error == (400, "INVALID_ARGUMENT")
    assert '"colour"' in parameter.message


def test_a_field_of_another_kind_is_named_by_its_path(emulator: Emulator) -> None:
    """Seen by https://github.com/googleapis/python-aiplatform/issues/3273: a text where Vertex AI wants an object."""
    body = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [], "baseOutputDirectory": "gs://bucket/out"}}
    answer = emulator.post(f"{PARENT}/customJobs", body)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert re.search(r"job_?spec\.base_?output_?directory", answer.message, re.IGNORECASE), answer.message


def test_a_mask_in_a_body_is_read_as_people_write_it(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    body = {"deployedModel": {"id": "1"}, "updateMask": "dedicated_resources.min_replica_count"}
    assert emulator.post(f"{endpoint}:mutateDeployedModel", body).error == (404, "NOT_FOUND")


def test_the_beta_api_answers_what_v1_does(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    for path in (endpoint, f"{PARENT}/endpoints"):
        assert emulator.get(f"/v1beta1/{path}").body == emulator.get(path).body
    field = emulator.post(f"/v1beta1/{PARENT}/endpoints", {"displayName": "x", "gdcConfig": {"zone": "z"}})
    assert (field.error, '"gdcConfig"' in field.message) == ((400, "INVALID_ARGUMENT"), True)
    answer = emulator.get(f"/v1beta1/{PARENT}/extensions")
    assert (answer.error, "extensions" in answer.message) == ((501, "UNIMPLEMENTED"), True)


def test_the_beta_client_of_the_sdk_unpacks_its_operations(emulator: Emulator) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1beta1

    options = {"api_endpoint": emulator.url}
    client = aiplatform_v1beta1.EndpointServiceClient(
        transport="rest", credentials=AnonymousCredentials(), client_options=options
    )
    created = client.create_endpoint(parent=PARENT, endpoint=aiplatform_v1beta1.Endpoint(display_name="beta"))
    endpoint = created.result()
    # So slow that its operation is polled, by a path without a version.
    slow = pickle.dumps(Code("__import__('time').sleep(0.5) or __import__('types').SimpleNamespace(predict=list)"))
    machine = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
    # v1 has a field of the opposite meaning.
    deployed_model = aiplatform_v1beta1.DeployedModel(
        model=emulator.upload(slow), dedicated_resources=machine, enable_container_logging=True
    )
    deploying = client.deploy_model(endpoint=endpoint.name, deployed_model=deployed_model, traffic_split={"0": 100})
    assert deploying.result(timeout=60).deployed_model.id
    assert isinstance(deploying.metadata, aiplatform_v1beta1.DeployModelOperationMetadata)
    assert emulator.get(f"/v1beta1/{deploying.operation.name}").body["done"] is True


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b'{"displayName": 1}', b'{"a":' * 2000])
def test_a_body_that_is_no_message_is_refused(emulator: Emulator, body: bytes) -> None:
    response = emulator.session.post(f"{emulator.url}/v1/{PARENT}/endpoints", data=body, timeout=10)
    assert (response.status_code, response.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("name", ["..%2F..%2Fx", "%2E%2E", "a%2Fb", "a%00b", "%ff"])
def test_names_that_could_leave_their_place_are_refused(emulator: Emulator, name: str) -> None:
    connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"))
    connection.request("GET", f"/v1/{PARENT}/models/{name}")
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize("parent", ["projects/UPPER/locations/l", "projects/p/locations/a b", "projects/-/locations/l"])
def test_projects_and_locations_are_checked_at_creation(emulator: Emulator, parent: str) -> None:
    assert emulator.post(f"{parent}/endpoints", {"displayName": "x"}).error == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
    ],
)
def test_a_request_that_a_web_page_could_send_is_refused(emulator: Emulator, headers: dict[str, str]) -> None:
    for method, path in (("POST", f"/v1/{PARENT}/customJobs"), ("GET", "/_emulator/health")):
        assert emulator.call(method, path, headers=headers).error == (403, "PERMISSION_DENIED")


def test_the_emulators_own_pages_are_welcome(emulator: Emulator) -> None:
    for headers in ({"Origin": emulator.url}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}):
        assert emulator.get("/_emulator/health", headers=headers).status == 200


@pytest.mark.slow
def test_the_metadata_server_gives_jobs_credentials_and_the_project_in_use(emulator: Emulator) -> None:
    script = "import google.auth as a; found, project = a.default(); print(type(found).__module__, project)"
    job = emulator.run_job(["python", "-c", script])
    assert emulator.output(job)[-1] == "google.auth.compute_engine.credentials test-project"


def test_it_listens_on_this_machine_only(emulator: Emulator) -> None:
    addresses = set()
    for process in emulator.tree():
        # One that looks for Docker may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            listening = [found.laddr.ip for found in process.net_connections() if found.status == "LISTEN"]
            # gRPC listens on the same address by a socket of IPv6.
            addresses |= {address.removeprefix("::ffff:") for address in listening}
    assert addresses == {"127.0.0.1"}


def test_small_answers_are_not_held_back() -> None:
    """By Nagle's algorithm: uvloop turns it off for every connection, asyncio for a listener that names TCP."""

    async def accepted() -> int:
        option: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            option.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bind(0)
        async with await asyncio.start_server(accept, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found = await option
            writer.close()
            await writer.wait_closed()
            return found

    assert asyncio.run(accepted()) != 0


def test_a_body_that_could_not_be_read_again_is_refused(emulator: Emulator) -> None:
    """Values nest several messages for each level of JSON, and protobuf reads a hundred levels."""

    def upload(levels: int) -> Answer:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        parent = PARENT.replace("test-project", "deep")
        return emulator.post(f"{parent}/models:upload", {"model": {"displayName": "deep", "metadata": value}})

    for levels in (40, 60, 90):
        assert upload(levels).error == (400, "INVALID_ARGUMENT")
    emulator.response(upload(20))
    assert len(emulator.get(f"{PARENT.replace('test-project', 'deep')}/models").body["models"]) == 1


def test_an_offer_of_http_2_is_ignored_and_the_body_is_read(emulator: Emulator) -> None:
    """As Java's own client makes it, with its first request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABk"}
    for url, body, field in (
        (f"{emulator.storage_url}/storage/v1/b?project=test-project", {"name": "offered-bucket"}, "name"),
        (f"{emulator.url}/v1/{PARENT}/datasets", {"displayName": "x" * 200}, "error"),
    ):
        answer = requests.post(url, json=body, headers=offer, timeout=30)
        assert field in answer.json()
        assert "None" not in answer.text
