"""Jobs that are forked see, print, fail and end as those with their own interpreter."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.emulator.runtime import shell_line
from tests.emulator.harness import PYTHON_IMAGE, Emulator, eventually, has_ended, sdist
from tests.emulator.test_forks import fork_server
from tests.repositories import another_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")

# A job with its own variable is not forked: libraries read some when they are imported.
OWN_INTERPRETER = [{"name": "OMP_NUM_THREADS", "value": "1"}]


def submitted(emulator: Emulator, bucket: str, files: dict[str, str], *arguments: str, **spec: Any) -> str:
    """A job that runs the module `job.go`."""
    uri = emulator.put(bucket, "job-1.0.tar.gz", sdist("job", "1.0", {"job/__init__.py": "", **files}))
    package = {"executorImageUri": PYTHON_IMAGE, "packageUris": [uri], "pythonModule": "job.go", "args": arguments}
    return emulator.submit({"pythonPackageSpec": {**package, **spec}})


def told(emulator: Emulator, bucket: str, go: str, **spec: Any) -> tuple[str, list[str], str]:
    """State, output and error of a job that has ended; what differs between any two jobs is left out."""
    job = emulator.wait_for_job(submitted(emulator, bucket, {"job/go.py": go}, "one", "a b", **spec))
    text = re.sub(rf"jobs/{job['name'].rpartition('/')[2]}", "jobs/ID", "\n".join(emulator.output(job)))
    text = re.sub(r"vertex-emulator-\w+/", "vertex-emulator-ID/", text)  # TMPDIR, where the data folder's path is long
    return job["state"], text.splitlines(), re.sub(r"jobs/\d+", "jobs/ID", job.get("error", {}).get("message", ""))


LOOK = """
import json, os, signal, sys, tempfile, threading, warnings
open("here.txt", "w").close()
print(json.dumps({
    "argv": sys.argv[1:], "file": __file__, "name": __name__, "package": __package__, "spec": __spec__.name,
    "globals": sorted(name for name in globals() if not name.startswith("__")),
    "path": sys.path, "folder": os.getcwd(), "temporary": tempfile.gettempdir(), "here": os.listdir(),
    "stdin": os.read(0, 1).decode(), "encoding": [sys.stdout.encoding, sys.stderr.encoding],
    "errors": [sys.stdout.errors, sys.stderr.errors], "mask": os.umask(0o22), "threads": threading.active_count(),
    "signals": {str(number): str(signal.getsignal(number)) for number in (2, 13, 15, 17)},
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "variables": {name: value for name, value in os.environ.items() if name not in (MARKS)},
    "open": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:3],
    "ours": [name for name in sys.modules if name.startswith("edge_tasks")],
}, indent=0))
""".replace(
    "MARKS",
    "'VERTEX_EMULATOR_CHILD', 'CLOUD_ML_JOB_ID', 'CLUSTER_SPEC', 'OMP_NUM_THREADS', 'PWD'",
)


@pytest.mark.unmeasured
def test_a_forked_job_sees_what_one_with_its_own_interpreter_sees(emulator: Emulator, bucket: str) -> None:
    forked = told(emulator, bucket, LOOK)
    own = told(emulator, bucket, LOOK, env=OWN_INTERPRETER)
    assert forked[0] == own[0] == "JOB_STATE_SUCCEEDED", forked
    seen, seen_by_own = (json.loads("\n".join(each[1])) for each in (forked, own))
    for name in seen_by_own:
        assert seen[name] == seen_by_own[name], name


@pytest.mark.slow
@pytest.mark.parametrize(
    "go",
    [
        "import sys; sys.exit(7)",
        "import sys; sys.exit('what is wrong')",
        "def f():\n    1 / 0\nf()",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal; print('last words', flush=True); os.killpg(0, signal.SIGKILL)",
        "import atexit; atexit.register(print, 'at the end'); print('now')",
        "import threading as t, time; t.Thread(target=lambda: (time.sleep(0.1), print('later'))).start(); print('now')",
        "import os; os.write(2, b'raw'); os._exit(3)",
        "import no_such_module",
        "syntax error",
    ],
)
def test_a_forked_job_ends_as_one_with_its_own_interpreter(emulator: Emulator, bucket: str, go: str) -> None:
    assert told(emulator, bucket, go) == told(emulator, bucket, go, env=OWN_INTERPRETER)


@pytest.mark.slow
def test_a_job_that_brings_a_library_along_has_its_own_interpreter(emulator: Emulator, bucket: str) -> None:
    """What was imported for all jobs uses another one of it; only `edge_tasks` is each job's own."""
    go = "import sys, joblib, edge_tasks; print(joblib.OWN, edge_tasks.OWN, len(sys.argv), 'job.go' in sys.orig_argv)"
    ours = {"edge_tasks/__init__.py": "OWN = 1"}
    for files, own in (({"joblib.py": "OWN = 2"}, True), ({}, False)):
        text = go if own else go.replace("joblib.OWN", "2")
        name = submitted(emulator, bucket, {"job/go.py": text, **ours, **files})
        assert emulator.output(emulator.wait_for_job(name)) == [f"2 1 1 {own}"]


@pytest.mark.slow
def test_forked_jobs_draw_different_random_numbers(emulator: Emulator, bucket: str) -> None:
    go = "import random, numpy; print(random.random(), numpy.random.random(), numpy.random.default_rng().random())"
    drawn = [number for _ in range(2) for number in told(emulator, bucket, go)[1][0].split()]
    assert len(set(drawn)) == 6


@pytest.mark.slow
def test_what_one_job_imports_or_sets_no_other_sees(emulator: Emulator, bucket: str) -> None:
    go = "import sys, os; print('wave' in sys.modules, os.environ.get('LEAK')); import wave; os.environ['LEAK'] = '1'"
    assert [told(emulator, bucket, go)[1] for _ in range(2)] == [["False None"]] * 2


def test_a_package_that_is_upgraded_while_the_emulator_runs_is_what_the_next_job_has(
    own_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    python = another_environment(tmp_path / "venv")
    (site,) = tmp_path.glob("venv/lib/*/site-packages")

    def install(version: int) -> None:
        """Do to the folder what pip does."""
        for before in site.glob("sacred-*.dist-info"):
            before.rmdir()
        (site / "sacred").mkdir(exist_ok=True)
        (site / "sacred" / "__init__.py").write_text(f"VERSION = {version}" + "\n" * version)
        (site / f"sacred-{version}.dist-info").mkdir()

    install(1)
    running = own_emulator(python=str(python))
    bucket = running.new_bucket()
    go = "import sacred, sys; print(sacred.VERSION, 'job.go' in sys.orig_argv)"
    assert [told(running, bucket, go)[1] for _ in range(2)] == [["1 False"]] * 2
    before = fork_server(running)
    install(2)
    # Of several at once, too, each is forked.
    jobs = [submitted(running, bucket, {"job/go.py": go}) for _ in range(3)]
    assert [running.output(running.wait_for_job(job)) for job in jobs] == [["2 False"]] * 3
    assert fork_server(running) != before
    after = fork_server(running)
    assert told(running, bucket, go)[1] == ["2 False"]
    assert fork_server(running) == after


THREADS_AND_PROCESSES = """
import multiprocessing, subprocess, sys

def double(number):
    return 2 * number

if __name__ == "__main__":
    from sklearn.datasets import load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    x, y = load_iris(return_X_y=True)
    print(cross_val_score(HistGradientBoostingClassifier(max_iter=5), x, y, n_jobs=2).min() > 0.8)
    print(RandomForestClassifier(20, n_jobs=2, random_state=1).fit(x, y).score(x, y) > 0.8)
    for way in ("spawn", "fork"):
        with multiprocessing.get_context(way).Pool(2) as pool:
            print(way, pool.map(double, [1, 2]))
    print(subprocess.run([sys.executable, "-c", "import job.go; print(job.go.double(3))"], capture_output=True).stdout)
"""


@pytest.mark.slow
def test_threads_and_processes_work_in_a_forked_job(emulator: Emulator, bucket: str) -> None:
    ways = [f"{way} [2, 4]" for way in ("spawn", "fork")]
    assert told(emulator, bucket, THREADS_AND_PROCESSES)[1] == ["True", "True", *ways, "b'6\\n'"]


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(64):
            if number != null:
                try:
                    os.close(number)
                except OSError:
                    pass
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["0", "1000"])
def test_a_daemon_that_a_forked_job_has_forked_ends_with_it(emulator: Emulator, bucket: str, seconds: str) -> None:
    """It has the variables of the process that all are forked from, and executes nothing."""
    name = submitted(emulator, bucket, {"job/go.py": DAEMON}, seconds)
    (pid,) = eventually(lambda: emulator.output(name), "the daemon prints its pid")
    if seconds != "0":
        emulator.post(f"{name}:cancel")
    emulator.wait_for_job(name)
    eventually(lambda: has_ended(int(pid)), "the daemon has ended")


@pytest.mark.slow
def test_a_forked_job_is_asked_to_end_and_killed_when_it_does_not(emulator: Emulator, bucket: str) -> None:
    asked = "import signal, time, sys\nsignal.signal(15, lambda *_: (print('ended'), sys.exit()))\n"
    deaf = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
    for source, last in ((asked, ["ready", "ended"]), (deaf, ["ready"])):
        name = submitted(emulator, bucket, {"job/go.py": f"{source}print('ready', flush=True)\ntime.sleep(1000)"})
        eventually(lambda name=name: emulator.output(name), "the job is ready")  # type: ignore[misc]
        emulator.post(f"{name}:cancel")
        assert emulator.wait_for_job(name)["state"] == "JOB_STATE_CANCELLED"
        assert emulator.output(name) == last


def test_a_forked_job_reads_and_writes_below_gcs(emulator: Emulator, bucket: str) -> None:
    go = f"open('/gcs/{bucket}/out.txt', 'w').write(open('/gcs/{bucket}/in.txt').read() * 2)"
    emulator.put(bucket, "in.txt", b"ab")
    assert told(emulator, bucket, go)[0] == "JOB_STATE_SUCCEEDED"
    assert emulator.read(bucket, "out.txt") == b"abab"


@pytest.mark.slow
def test_a_line_that_installs_and_runs_a_module_is_forked(emulator: Emulator, bucket: str) -> None:
    files = {"job/__init__.py": "", "job/go.py": "import os, sys; print(sys.argv[1:], os.getppid())"}
    emulator.put(bucket, "job-1.0.tar.gz", sdist("job", "1.0", files))
    line = f'python3 -m pip install --quiet /gcs/{bucket}/job-1.0.tar.gz && exec python3 -m job.go "$@"'
    job = emulator.run_job(["sh", "-c", line, "job.go", "a b", "$HOME"])
    told, parent = emulator.output(job)[0].rsplit(" ", 1)
    assert told == "['a b', '$HOME']"
    fork_server(emulator)
    assert int(parent) > 1
    failed = emulator.run_job(["sh", "-c", line.replace("job-1.0", "no-such"), "job.go"])
    assert f"Could not find the file /gcs/{bucket}/no-such.tar.gz" in failed["error"]["message"]


@pytest.mark.parametrize(
    "line",
    [
        "python3 -m pip install $PACKAGE && exec python3 -m job",
        "python3 -m pip install a; exec python3 -m job",
        "python3 -m pip install a && exec python3 -m job && echo done",
        "python3 -m pip install a && exec python3 -m job $@",
        "python3 -m pip install 'a && exec python3 -m job",
        "python3 -m pip install *.whl && exec python3 -m job",
        "FORCE=1 python3 -m pip install a && exec python3 -m job",
        "python3 -m pip install a && python3 -m job",
        "python3 -m pip download a && exec python3 -m job",
    ],
)
def test_any_other_line_is_left_to_the_shell(line: str) -> None:
    assert shell_line.read(["sh", "-c", line]) is None


def test_a_line_is_read_as_a_shell_reads_it() -> None:
    line = "python3 -m pip install --quiet '/gcs/b/a 1.tar.gz' \"b>=1\" && exec python3 -m job.go"
    assert shell_line.read(["sh", "-c", line]) is None  # `>` is left to the shell, also where it is quoted
    line = "python3 -m pip install --quiet '/gcs/b/a 1.tar.gz' b==1 && exec python3 -m job.go"
    assert shell_line.read(["sh", "-c", line, "x", "y"]) == (
        ["install", "--quiet", "/gcs/b/a 1.tar.gz", "b==1"],
        "job.go",
        [],
    )
