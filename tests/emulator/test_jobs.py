"""Custom jobs, by plain HTTP."""

from __future__ import annotations

import os
from typing import Any

import psutil
import pytest

from edge_tasks.emulator.projects import project_number
from tests.emulator.harness import MACHINE, PARENT, PYTHON_IMAGE, Emulator, eventually, has_ended, sdist


@pytest.mark.slow
def test_a_job_succeeds_with_truthful_times(emulator: Emulator) -> None:
    job = emulator.run_job(["python", "-c", "print('hello')"])
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["createTime"] <= job["startTime"] <= job["endTime"] <= job["updateTime"]
    assert "error" not in job
    assert emulator.output(job) == ["hello"]


@pytest.mark.slow
def test_a_failed_job_tells_its_exit_status_and_last_lines(emulator: Emulator) -> None:
    job = emulator.run_job(["python", "-c", "raise SystemExit('out of luck')"])
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["code"] == 3
    assert job["error"]["message"].startswith(
        "The replica workerpool0-0 exited with a non-zero status of 1. Termination reason: Error."
    )
    job_id, number = job["name"].rpartition("/")[2], project_number("test-project")
    assert job["error"]["message"].endswith(
        "out of luck\n\nTo find out more about why your job exited please check the logs:"
        f" {emulator.data}/jobs/{job_id}/log.jsonl"
    )
    last = emulator.log(job)[-1]
    assert (last["severity"], last["resource"]["labels"]["task_name"]) == ("ERROR", "service")
    assert last["textPayload"].endswith("Termination reason: Error.")
    assert job["name"].startswith(f"projects/{number}/")


@pytest.mark.slow
def test_a_cancelled_job_ends_with_its_whole_process_tree(emulator: Emulator) -> None:
    name = emulator.create_job(["sh", "-c", "sleep 1000 & echo $! $$; trap '' TERM; wait; sleep 1000"])
    pids = eventually(lambda: emulator.output(name), "the job prints its pids")[0].split()
    assert emulator.get(name).body["state"] == "JOB_STATE_RUNNING"
    assert emulator.post(f"{name}:cancel").status == 200
    assert emulator.get(name).body["state"] in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    job = emulator.wait_for_job(name)
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert job["error"]["code"] == 1
    assert not any(psutil.pid_exists(int(pid)) for pid in pids)


@pytest.mark.slow
def test_a_cancelled_job_ends_also_processes_that_made_a_session_of_their_own(emulator: Emulator) -> None:
    script = (
        "import subprocess as s, sys\n"
        "child = s.Popen(['sleep', '1000'], start_new_session=True)\n"
        "print(child.pid); child.wait()"
    )
    name = emulator.create_job(["python", "-c", script])
    (pid,) = eventually(lambda: emulator.output(name), "the job prints a pid")
    emulator.post(f"{name}:cancel")
    emulator.wait_for_job(name)
    eventually(lambda: not psutil.pid_exists(int(pid)), "the child has ended")


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdout.close(); os.close(1); os.close(2)
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["0", "1000"])
def test_a_daemon_ends_with_the_job_that_has_started_it(emulator: Emulator, seconds: str) -> None:
    name = emulator.create_job(["python", "-c", DAEMON, seconds])
    (pid,) = eventually(lambda: emulator.output(name), "the daemon prints its pid")
    if seconds != "0":
        emulator.post(f"{name}:cancel")
    emulator.wait_for_job(name)
    eventually(lambda: has_ended(int(pid)), "the daemon has ended")


def test_cancelling_a_job_that_has_ended_changes_nothing(emulator: Emulator) -> None:
    job = emulator.run_job(["python", "-c", ""])
    assert emulator.post(f"{job['name']}:cancel").status == 200
    assert emulator.get(job["name"]).body == job


@pytest.mark.slow
def test_files_that_other_threads_open_survive_the_end_of_jobs(emulator: Emulator, bucket: str) -> None:
    """A pipe that was closed twice closed what an upload had just opened: its connection to Cloud Storage."""
    emulator.put(bucket, "m/model.pkl", b"x")
    model = {"displayName": "x", "artifactUri": f"gs://{bucket}/m"}
    names = []
    for _ in range(15):
        names += [emulator.create_job(["true"]) for _ in range(3)]
        emulator.response(emulator.post(f"{PARENT}/models:upload", {"model": model}))
    assert {emulator.wait_for_job(name)["state"] for name in names} == {"JOB_STATE_SUCCEEDED"}


def test_a_job_that_exceeds_its_timeout_fails_with_the_reason(emulator: Emulator) -> None:
    job = emulator.run_job(["sleep", "1000"], scheduling={"timeout": "0.2s"})
    assert job["state"] == "JOB_STATE_FAILED"
    assert "timeout of 0.2 s" in job["error"]["message"]


def test_several_jobs_run_side_by_side(emulator: Emulator, bucket: str) -> None:
    """Each waits for a sign of the other in the bucket, so one after the other they would never end."""
    script = (
        "import os, sys, time, urllib.request as u\n"
        f"base = os.environ['STORAGE_EMULATOR_HOST'] + '/upload/storage/v1/b/{bucket}/o?uploadType=media&name='\n"
        "u.urlopen(u.Request(base + sys.argv[1], data=b'x', method='POST'))\n"
        "while True:\n"
        "    try:\n"
        f"        u.urlopen(os.environ['STORAGE_EMULATOR_HOST'] + '/storage/v1/b/{bucket}/o/' + sys.argv[2])\n"
        "        break\n"
        "    except OSError:\n"
        "        time.sleep(0.01)\n"
    )
    names = [emulator.create_job(["python", "-c", script, *pair]) for pair in (("a", "b"), ("b", "a"))]
    assert [emulator.wait_for_job(name)["state"] for name in names] == ["JOB_STATE_SUCCEEDED"] * 2


def test_a_job_sees_vertex_variables_and_none_of_the_users(emulator: Emulator) -> None:
    spec = {"imageUri": PYTHON_IMAGE, "command": ["env"], "env": [{"name": "MINE", "value": "$(AIP_MODEL_DIR)x"}]}
    output = {"outputUriPrefix": f"gs://{emulator.new_bucket('of-a-job')}/out"}
    job = emulator.wait_for_job(emulator.submit({"containerSpec": spec}, baseOutputDirectory=output))
    variables = dict(line.split("=", 1) for line in emulator.output(job))
    assert variables["AIP_MODEL_DIR"] == "gs://of-a-job/out/model/"
    assert variables["AIP_CHECKPOINT_DIR"] == "gs://of-a-job/out/checkpoints/"
    assert variables["AIP_TENSORBOARD_LOG_DIR"] == "gs://of-a-job/out/logs/"
    assert variables["MINE"] == "gs://of-a-job/out/model/x"
    # The number, as https://cloud.google.com/vertex-ai/docs/training/code-requirements says.
    assert variables["CLOUD_ML_PROJECT_ID"] == str(project_number("test-project"))
    assert variables["CLOUD_ML_REGION"] == "us-central1"
    assert variables["CLOUD_ML_JOB_ID"] == job["name"].rpartition("/")[2]
    assert variables["STORAGE_EMULATOR_HOST"] == emulator.storage_url
    assert variables["HOME"] != os.environ["HOME"]
    assert "PYTEST_CURRENT_TEST" not in variables


def test_output_variables_are_not_set_without_a_base_output_directory(emulator: Emulator) -> None:
    job = emulator.run_job(["env"])
    assert not [line for line in emulator.output(job) if line.startswith("AIP_")]


def test_packages_are_fetched_unpacked_and_run(emulator: Emulator, bucket: str) -> None:
    """Also with a src layout, and the job's own packages come before those of the emulator's environment."""
    main = "import sys, helper, edge_tasks; print(helper.NAME, edge_tasks.OWN, sys.argv[1:])"
    uris = [
        emulator.put(
            bucket, "a.tar.gz", sdist("a", "1.0", {"edge_tasks/__init__.py": "OWN = True", "edge_tasks/go.py": main})
        ),
        emulator.put(
            bucket, "b.tar.gz", sdist("b", "2.0", {"src/helper/__init__.py": "NAME = 'b'", "pyproject.toml": ""})
        ),
    ]
    spec = {
        "executorImageUri": PYTHON_IMAGE,
        "packageUris": uris,
        "pythonModule": "edge_tasks.go",
        "args": ["x y", "*"],
    }
    job = emulator.wait_for_job(emulator.submit({"pythonPackageSpec": spec}))
    assert emulator.output(job) == ["b True ['x y', '*']"]


@pytest.mark.parametrize("requirement", ["no-such-package>=2", "requests<1"])
def test_a_requirement_that_is_not_met_fails_the_job_and_says_what_to_install(
    emulator: Emulator, bucket: str, requirement: str
) -> None:
    uri = emulator.put(bucket, "a.tar.gz", sdist("a", "1.0", {"a/__init__.py": ""}, (requirement, "requests")))
    spec = {"executorImageUri": PYTHON_IMAGE, "packageUris": [uri], "pythonModule": "a"}
    job = emulator.wait_for_job(emulator.submit({"pythonPackageSpec": spec}))
    assert job["state"] == "JOB_STATE_FAILED"
    assert f"pip install '{requirement}'" in job["error"]["message"]


def test_a_package_that_does_not_exist_fails_the_job(emulator: Emulator, bucket: str) -> None:
    spec = {"executorImageUri": PYTHON_IMAGE, "packageUris": [f"gs://{bucket}/no.tar.gz"], "pythonModule": "a"}
    job = emulator.wait_for_job(emulator.submit({"pythonPackageSpec": spec}))
    assert f"gs://{bucket}/no.tar.gz does not exist" in job["error"]["message"]


def test_pip_inside_a_job_unpacks_archives_below_gcs(emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "x/a.tar.gz", sdist("a", "1.0", {"a/__init__.py": "", "a/go.py": "print('went')"}))
    command = f"python3 -m pip install --no-cache-dir /gcs/{bucket}/x/a.tar.gz && exec python3 -m a.go"
    job = emulator.run_job(["sh", "-c", command])
    assert (job["state"], emulator.output(job)) == ("JOB_STATE_SUCCEEDED", ["went"])


@pytest.mark.slow
def test_pip_inside_a_job_downloads_nothing(emulator: Emulator) -> None:
    job = emulator.run_job(["sh", "-c", "pip install --upgrade pip && pip3 install -q requests no-such-package"])
    assert "no-such-package (not installed)" in job["error"]["message"]
    assert "'requests" not in job["error"]["message"]


def test_a_folder_below_gcs_can_be_read(emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "data/a.txt", b"1\n")
    emulator.put(bucket, "data/deep/b.txt", b"2\n")
    job = emulator.run_job(["sh", "-c", f"cat /gcs/{bucket}/data/a.txt; cd /gcs/{bucket}/data; cat deep/b.txt"])
    assert emulator.output(job) == ["1", "2"]


def test_what_a_job_writes_below_gcs_is_in_the_bucket(emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "in/a.txt", b"read\n")
    emulator.put(bucket, "in/b.txt", b"old\n")
    command = f"mkdir /gcs/{bucket}/out; cat /gcs/{bucket}/in/a.txt > /gcs/{bucket}/out/c.txt"
    command += f"; echo new > /gcs/{bucket}/in/b.txt; mkdir -p $OUT"
    variables = [{"name": "OUT", "value": f"/gcs/{bucket}/deep/er"}]
    command += "; echo deep > $OUT/d.txt; exit 3"
    spec = {"imageUri": PYTHON_IMAGE, "command": ["sh", "-c", command], "env": variables}
    assert emulator.wait_for_job(emulator.submit({"containerSpec": spec}))["state"] == "JOB_STATE_FAILED"
    found = {name: emulator.read(bucket, name) for name in ("in/a.txt", "in/b.txt", "out/c.txt", "deep/er/d.txt")}
    assert found == {"in/a.txt": b"read\n", "in/b.txt": b"new\n", "out/c.txt": b"read\n", "deep/er/d.txt": b"deep\n"}


def test_an_image_that_needs_docker_fails_the_job_clearly(emulator: Emulator) -> None:
    job = emulator.run_job(["true"], image="gcr.io/my/image")
    assert job["error"]["code"] == 12
    assert "gcr.io/my/image cannot run here: it needs Docker" in job["error"]["message"]


VARIABLE = {**MACHINE, "containerSpec": {"imageUri": PYTHON_IMAGE, "env": [{"name": "a-b", "value": "x"}]}}


def pools(*scripts: tuple[int, str]) -> dict[str, Any]:
    """The body of a job with a worker pool for each count of replicas and Python script."""
    specs = [
        {"replicaCount": count, "containerSpec": {"imageUri": PYTHON_IMAGE, "command": ["python", "-c", script]}}
        for count, script in scripts
    ]
    return {"displayName": "x", "jobSpec": {"workerPoolSpecs": [{**MACHINE, **spec} for spec in specs]}}


GREETINGS = """
import json, os, socket, sys
spec = json.loads(os.environ["CLUSTER_SPEC"])
role, task = sys.argv[-1], spec["task"]
host, port = spec["cluster"]["workerpool0"][0].split(":")
if task["type"] == "workerpool0":
    with socket.create_server((host, int(port))) as server:
        greetings = sorted(server.accept()[0].recv(100).decode() for _ in range(3))
    print(greetings, json.loads(os.environ["TF_CONFIG"])["task"], len(set(sum(spec["cluster"].values(), []))))
else:
    import time
    while True:
        try:
            with socket.create_connection((host, int(port))) as client:
                client.sendall(f"{task['type']}-{task['index']}".encode())
            break
        except OSError:
            time.sleep(0.02)
    print("greeted")
    # Until the primary one ends.
    time.sleep(1000)
"""


@pytest.mark.slow
def test_the_replicas_of_a_job_find_each_other_and_end_with_the_primary_one(emulator: Emulator) -> None:
    answer = emulator.post(f"{PARENT}/customJobs", pools((1, GREETINGS), (2, GREETINGS), (1, GREETINGS)))
    job = emulator.wait_for_job(answer.body["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    by_replica: dict[str, list[str]] = {}
    for entry in emulator.log(job):
        by_replica.setdefault(entry["resource"]["labels"]["task_name"], []).append(entry["textPayload"])
    greetings = ["workerpool1-0", "workerpool1-1", "workerpool2-0"]
    assert by_replica.pop("workerpool0-0") == [f"{greetings} {{'type': 'chief', 'index': 0}} 4"]
    assert by_replica == {name: ["greeted"] for name in greetings}


MEETS = """
import json, os, socket, time
spec = json.loads(os.environ["CLUSTER_SPEC"])
host, port = spec["cluster"]["workerpool0"][0].split(":")
if spec["task"]["type"] == "workerpool0":
    with socket.create_server((host, int(port))) as server:
        server.accept()
else:
    while True:
        try:
            socket.create_connection((host, int(port)))
            break
        except OSError:
            time.sleep(0.02)
    time.sleep(0.1)
print("done")
"""


def test_a_replica_may_end_a_moment_after_the_primary_one(emulator: Emulator) -> None:
    """All replicas of most jobs do the same work."""
    answer = emulator.post(f"{PARENT}/customJobs", pools((1, MEETS), (1, MEETS)))
    job = emulator.wait_for_job(answer.body["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert emulator.output(job) == ["done", "done"]


def test_a_replica_that_fails_is_named_and_fails_the_job(emulator: Emulator) -> None:
    waits, fails = "import time; time.sleep(1000)", "raise SystemExit('lost')"
    answer = emulator.post(f"{PARENT}/customJobs", pools((1, waits), (0, ""), (1, fails)))
    job = emulator.wait_for_job(answer.body["name"])
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["message"].startswith("The replica workerpool2-0 exited with a non-zero status of 1.")
    assert "\nlost\n" in job["error"]["message"]


WHO_AND_WHERE = """
import json, os
spec, tensorflow = (json.loads(os.environ[name]) for name in ("CLUSTER_SPEC", "TF_CONFIG"))
print(os.environ["RANK"], os.environ["WORLD_SIZE"], *spec["task"].values(), *tensorflow["cluster"], sep=" ")
print(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] in str(spec["cluster"]))
"""


@pytest.mark.slow
def test_replicas_get_what_torch_distributed_reads(emulator: Emulator) -> None:
    waits = WHO_AND_WHERE + "import time; time.sleep(0.5)"  # so that the others have told, too
    specs = pools((1, waits), (2, WHO_AND_WHERE), (0, ""), (1, WHO_AND_WHERE))
    job = emulator.wait_for_job(emulator.post(f"{PARENT}/customJobs", specs).body["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    told = emulator.output(job)
    assert sorted(line for line in told if "chief" in line) == [
        "0 4 workerpool0 0 chief worker",
        "1 4 workerpool1 0 chief worker",
        "2 4 workerpool1 1 chief worker",
        "3 4 workerpool3 0 chief worker",
    ]
    # TensorFlow may listen at each address of the cluster, PyTorch at one more.
    assert [line for line in told if "chief" not in line] == ["127.0.0.1 False"] * 4


@pytest.mark.slow
def test_a_replica_that_is_killed_ends_the_others_and_is_named(emulator: Emulator) -> None:
    tells = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
    killed = "import os, signal, time; time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)"
    job = emulator.wait_for_job(
        emulator.post(f"{PARENT}/customJobs", pools((1, tells), (1, tells), (1, killed))).body["name"]
    )
    assert job["error"]["message"].startswith("The replica workerpool2-0 exited with a non-zero status of 137.")
    assert all(has_ended(int(line)) for line in emulator.output(job) if line.isdigit())


@pytest.mark.slow
def test_a_slow_replica_is_waited_for_until_the_job_s_timeout_and_then_all_end(emulator: Emulator) -> None:
    body = pools((1, MEETS), (1, "import time; time.sleep(1000)"))
    body["jobSpec"]["scheduling"] = {"timeout": "2s"}
    job = emulator.wait_for_job(emulator.post(f"{PARENT}/customJobs", body).body["name"])
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 4)


def test_a_cancelled_job_ends_all_its_replicas(emulator: Emulator) -> None:
    tells = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
    name = emulator.post(f"{PARENT}/customJobs", pools((1, tells), (2, tells))).body["name"]
    pids = eventually(lambda: len(found := emulator.output(name)) == 3 and found, "all replicas run")
    emulator.post(f"{name}:cancel")
    assert emulator.wait_for_job(name)["state"] == "JOB_STATE_CANCELLED"
    assert all(has_ended(int(pid)) for pid in pids)


def test_the_primary_replica_is_one(emulator: Emulator) -> None:
    answer = emulator.post(f"{PARENT}/customJobs", pools((2, "")))
    assert answer.error == (400, "INVALID_ARGUMENT")
    answer = emulator.post(f"{PARENT}/customJobs", pools((1, ""), (100, "")))
    assert answer.error == (501, "UNIMPLEMENTED")


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ({"jobSpec": {}}, "display_name"),
        ({"displayName": "x", "jobSpec": {}}, "worker_pool_specs"),
        ({"displayName": "x", "jobSpec": {"workerPoolSpecs": [{}]}}, "container_spec or a python_package_spec"),
        ({"displayName": "x", "jobSpec": {"workerPoolSpecs": [{**VARIABLE, "machineSpec": {}}]}}, "machine_type"),
        ({"displayName": "x", "jobSpec": {"workerPoolSpecs": [VARIABLE]}}, "a-b"),
        ({"displayName": "x" * 129}, "128"),
        ({"displayName": "x", "labels": {"Upper": "x"}}, "label"),
        ({"displayName": "x", "labels": {"ok": "a:b"}}, "label"),
        ({"displayName": "x", "jobSpecs": {}}, '"jobSpecs"'),
    ],
)
def test_a_wrong_job_is_refused_with_the_reason(emulator: Emulator, job: object, problem: str) -> None:
    answer = emulator.post(f"{PARENT}/customJobs", job)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert problem in answer.message


@pytest.mark.slow
def test_jobs_are_listed_by_filter_and_page(emulator: Emulator) -> None:
    parent = PARENT.replace("test-project", "list-project")
    pool = {**MACHINE, "containerSpec": {"imageUri": PYTHON_IMAGE, "command": ["true"]}}
    for name, label in (("a-1", "x"), ("a-2", "y"), ("b-1", "x")):
        body = {"displayName": name, "labels": {"team": label}, "jobSpec": {"workerPoolSpecs": [pool]}}
        emulator.wait_for_job(emulator.post(f"{parent}/customJobs", body).body["name"])

    def listed(**parameters: str) -> list[str]:
        jobs = emulator.get(f"{parent}/customJobs", params=parameters).body.get("customJobs", [])
        return [job["displayName"] for job in jobs]

    assert listed() == ["b-1", "a-2", "a-1"]
    assert listed(filter='display_name:"a-*"') == ["a-2", "a-1"]
    assert listed(filter='display_name="a-1" OR labels.team=y') == ["a-2", "a-1"]
    assert listed(filter='state="JOB_STATE_SUCCEEDED" AND NOT labels.team="y"') == ["b-1", "a-1"]
    assert listed(filter='create_time>"2999-01-01T00:00:00Z"') == []
    first = emulator.get(f"{parent}/customJobs", params={"pageSize": "2"}).body
    rest = emulator.get(f"{parent}/customJobs", params={"pageSize": "2", "pageToken": first["nextPageToken"]}).body
    assert [len(first["customJobs"]), len(rest["customJobs"])] == [2, 1]
    assert "nextPageToken" not in rest
    assert emulator.get(f"{parent}/customJobs", params={"filter": "nope=1"}).error == (400, "INVALID_ARGUMENT")
    assert emulator.get(f"{PARENT.replace('us-central1', 'europe-west4')}/customJobs").body == {}


def test_a_deleted_job_is_gone_with_its_log_and_a_running_one_is_kept(emulator: Emulator) -> None:
    name = emulator.create_job(["sleep", "1000"])
    assert emulator.call("DELETE", f"/v1/{name}").error == (400, "FAILED_PRECONDITION")
    emulator.post(f"{name}:cancel")
    emulator.wait_for_job(name)
    emulator.response(emulator.call("DELETE", f"/v1/{name}"))
    assert emulator.get(name).error == (404, "NOT_FOUND")
    assert emulator.log(name) == []
