"""A training on several machines leaves one model and one record."""

from __future__ import annotations

import json
import textwrap

import pytest

from tests.repositories import Repository

# Both replicas train; each says which it is, and the primary one learns from the other what that knows.
TRAINS = """
import socket, time
from edge_tasks.training import this_replica
me = this_replica()
assert me.world_size == 2
if me.rank == 0:
    with socket.create_server((me.master_addr, me.master_port)) as server:
        other = float(server.accept()[0].recv(100))
else:
    while True:
        try:
            client = socket.create_connection((me.master_addr, me.master_port))
            break
        except OSError:
            time.sleep(0.02)
    client.sendall(b"0.25")
    other = 0.0
print(f"replica {me.rank} of {me.world_size}")
"""


@pytest.mark.slow
def test_a_job_of_two_replicas_leaves_one_version_and_one_record(hello_world: Repository) -> None:
    settings = hello_world.root / "edge.yaml"
    settings.write_text(settings.read_text() + "    training_replica_count: 2\n")
    script = hello_world.root / "models" / "hello-world" / "train.py"
    train = textwrap.indent(TRAINS, "    ")
    code = script.read_text().replace("    X = np.array", f"{train}    X = np.array")
    script.write_text(code.replace("dummy_clf.score(X, y)", "0.5 + other"))
    hello_world.run("invoke", "init")
    done = hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml")
    told = done.stdout + done.stderr
    assert "replica 0 of 2" in told
    assert "replica 1 of 2" in told
    assert json.loads((script.parent / "metrics.json").read_text()) == {"score": 0.75}
    (run,) = json.loads(hello_world.run("invoke", "experiments.list", "--json").stdout)
    assert run["status"] == "COMPLETED"
    assert run["metrics"] == {"score": 0.75}
    # One version, too: an upload by the other replica would have been a second.
    assert len(json.loads(hello_world.run("invoke", "model.list", "--json").stdout)) == 1
