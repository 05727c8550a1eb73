"""Google's client for Node, by REST: @google-cloud/aiplatform."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.emulator.harness import ECHO, NUMBERED, Emulator

PROGRAM = """
const {v1, helpers} = require("@google-cloud/aiplatform");
const {OAuth2Client} = require("google-auth-library");
const [address, parent, model] = process.argv.slice(2);
const url = new URL(address);
const authClient = new OAuth2Client();
authClient.setCredentials({access_token: "any", expiry_date: Date.now() + 3600000});
const options = {fallback: "rest", protocol: "http", apiEndpoint: url.hostname, port: url.port, authClient};

(async () => {
  const endpoints = new v1.EndpointServiceClient(options);
  const [making] = await endpoints.createEndpoint({parent, endpoint: {displayName: "by node"}});
  const [endpoint] = await making.promise();
  const machineSpec = {machineType: "n1-standard-2"};
  const deployedModel = {model, dedicatedResources: {machineSpec, minReplicaCount: 1}};
  const [deploying] = await endpoints.deployModel({endpoint: endpoint.name, deployedModel, trafficSplit: {"0": 100}});
  const [{deployedModel: {id}}] = await deploying.promise();
  const predictions = new v1.PredictionServiceClient(options);
  const instances = [helpers.toValue({a: [1, "x", true]})];
  const [answer] = await predictions.predict({endpoint: endpoint.name, instances});
  const missing = await endpoints.getEndpoint({name: `${parent}/endpoints/123`}).catch((error) => error);
  const [undeploying] = await endpoints.undeployModel({endpoint: endpoint.name, deployedModelId: id});
  await undeploying.promise();
  const [deleting] = await endpoints.deleteEndpoint({name: endpoint.name});
  await deleting.promise();
  const [left] = await endpoints.listEndpoints({parent, filter: "display_name=\\"by node\\""});
  console.log(JSON.stringify({
    name: endpoint.name,
    predictions: answer.predictions.map(helpers.fromValue),
    missing: missing.message,
    left: left.length,
  }));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.slow
@pytest.mark.needs("node")
@pytest.mark.timeout(300)
def test_a_model_is_deployed_asked_and_removed_by_node(emulator: Emulator, tmp_path: Path) -> None:
    program = tmp_path / "life.js"
    program.write_text(PROGRAM)
    (tmp_path / "node_modules").symlink_to(needs.node_modules() or "/nowhere")
    ran = subprocess.run(
        ["node", str(program), emulator.url, "projects/test-project/locations/us-central1", emulator.upload(ECHO)],
        env=dict(os.environ), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["name"].startswith(f"{NUMBERED}/endpoints/")
    assert told["predictions"] == [{"a": [1, "x", True]}]
    assert "endpoints/123` not found" in told["missing"]
    assert told["left"] == 0
