"""Commands and emulators that are forked end, print, fail and are ended as those that are not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_tasks.emulator.runtime import programs
from edge_tasks.emulator.serving import launcher
from tests.forking import commands, server
from tests.forking.commands import forked
from tests.forking.process import Process
from tests.repositories import BIN, clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are forked on Linux only")

SERVER = "tests/forking/server.py"


def both(tmp_path: Path, *words: str, before: str = "", **options: Any) -> list[tuple[int, str, str]]:
    """Run a program of Python forked and by itself; return what each ended with and printed."""
    answers = []
    for way in ("yes", "no"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGE_TESTS_FORK", way)
            command, environment = forked(BIN / "python", *words, environment=clean_environment(tmp_path / "home"))
        assert ("edge-fork-" in command[0]) == (way == "yes")
        if before:
            command = ["sh", "-c", f'{before}\nexec "$@"', "sh", *command]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )
        answers.append((done.returncode, done.stdout, done.stderr))
    return answers


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "import sys; print(sys.argv, sys.path[0], __name__, sys.flags.isolated)",
        "import sys; sys.exit(7)",
        "import sys; sys.exit('what is wrong')",
        "import sys; sys.exit(256 + 3)",
        "raise SystemExit",
        "1 / 0",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import atexit; atexit.register(print, 'at the end'); print('now')",
        "import threading as t, time; t.Thread(target=lambda: (time.sleep(0.1), print('later'))).start(); print('now')",
        "import sys; print(sys.stdin.read().upper()); print('e', file=sys.stderr)",
        "import os; print(os.getcwd(), oct(os.umask(0)), sorted(set(os.environ) - {'PATH', '_'}))",
        "import sys; print(sys.stdout.encoding, sys.stderr.errors, sys.stdout.line_buffering, sys.stdout.isatty())",
        pytest.param(
            "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))",
            marks=pytest.mark.unmeasured,
        ),
        "import os; print(os.getpgid(0) == os.getpgid(os.getppid()), os.getsid(0) == os.getsid(os.getppid()))",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=print, args=(1,)); p.start(); p.join()",
        "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__)",
        "import warnings; warnings.warn('look', DeprecationWarning); open('/dev/null')",
    ],
)
def test_a_forked_program_ends_and_prints_as_it_does_by_itself(program: str, tmp_path: Path) -> None:
    answers = both(tmp_path, "-c", program, "a", "b c", input="wörds")
    assert answers[0] == answers[1]


@pytest.mark.parametrize("words", [("FOLDER/script.py", "x"), ("script.py",), ("-m", "script", "é")], ids=" ".join)
def test_a_script_and_a_module_know_where_they_are(words: tuple[str, ...], tmp_path: Path) -> None:
    program = "import sys, warnings; print(sys.argv, sys.path[0], __file__, __name__); warnings.warn('look'); 1 / 0"
    (tmp_path / "script.py").write_text(program)
    answers = both(tmp_path, *(word.replace("FOLDER", str(tmp_path)) for word in words))
    assert answers[0] == answers[1]


def test_a_script_that_is_not_there_is_told_in_the_same_words(tmp_path: Path) -> None:
    answers = both(tmp_path, "nothing.py")
    assert answers[0] == answers[1]
    assert answers[0][0] == 2


def test_what_it_is_given_by_its_shell_is_kept(tmp_path: Path) -> None:
    program = "import os, signal; print(oct(os.umask(0)), signal.getsignal(signal.SIGHUP))"
    answers = both(tmp_path, "-c", program, before="umask 027; trap '' HUP")
    assert answers[0] == answers[1]
    assert "0o27" in answers[0][1]
    assert answers[0][1].split()[1] in ("1", "Handlers.SIG_IGN")


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", ["ulimit -n 99", "export PYTHONPATH=/nowhere", "cd /", "export PYTHONHASHSEED=1"], ids=lambda text: text
)
def test_what_a_fork_cannot_give_runs_by_itself(before: str, tmp_path: Path) -> None:
    program = "import sys, resource; print(sys.path[:2], resource.getrlimit(resource.RLIMIT_NOFILE)[0], hash('a') % 1)"
    answers = both(tmp_path, "-c", program, before=before)
    assert answers[0] == answers[1]


WAITING = """
import signal, sys, time
def stop(number, frame):
    print("told", number, flush=True)
    sys.exit(9)
if len(sys.argv) > 1:
    signal.signal(getattr(signal, sys.argv[1]), stop)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handled", "sent", "status"),
    [("SIGTERM", "SIGTERM", 9), ("", "SIGTERM", -15), ("SIGINT", "SIGINT", 9), ("", "SIGINT", -2), ("", "SIGKILL", -9)],
)
def test_a_signal_reaches_it(handled: str, sent: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(textwrap.dedent(WAITING))
    words = ["waiting.py", *([handled] if handled else [])]
    command, environment = forked(BIN / "python", *words, environment=clean_environment(tmp_path / "home"))
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (fork,) = (child for child in servers_children() if Path(child.cwd()) == tmp_path)
        process.send_signal(getattr(signal, sent))
        assert process.wait(30) == status
        assert process.stdout.read() == ("" if not handled else f"told {getattr(signal, handled).value}\n")
    fork.wait(10)


@pytest.mark.slow
@pytest.mark.needs("gcloud")
@pytest.mark.parametrize("command", ["config list --format=json", "version --format=json", "ai models lst"])
def test_gcloud_prints_what_it_prints_by_itself(command: str, tmp_path: Path) -> None:
    answers: list[tuple[int, str, str]] = []
    for variables in (commands.gcloud_s_interpreter(), {}):
        assert variables or len(answers) == 1
        environment = {**clean_environment(tmp_path / "home"), "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), **variables}
        done = subprocess.run(
            ["gcloud", *command.split()], env=environment, capture_output=True, text=True, check=False
        )
        answers.append((done.returncode, done.stdout, done.stderr))
    assert answers[0] == answers[1]
    assert answers[0][0] == (2 if "lst" in command else 0)


def servers_children() -> list[psutil.Process]:
    """Every process that was forked for this test process."""
    servers = filter(is_server, psutil.Process().children())
    return [child for server in servers for child in server.children()]


def is_server(child: psutil.Process) -> bool:
    try:
        return any(SERVER in word for word in child.cmdline())
    except psutil.Error:  # it has ended
        return False


def started(tmp_path: Path, way: str, *arguments: str) -> Process:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_TESTS_FORK", way)
        return Process(
            [sys.executable, "-m", "edge_tasks.emulator", "--data", str(tmp_path / way), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=tmp_path, env=clean_environment(tmp_path / "home"),
        )  # fmt: skip


@pytest.mark.slow
def test_an_emulator_is_a_process_as_by_itself(tmp_path: Path) -> None:
    seen = []
    for way in ("yes", "no"):
        process = started(tmp_path, way)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Vertex AI emulator at ")
        card = json.loads((tmp_path / way / "servers.json").read_text())
        assert card["pid"] == process.pid
        found = psutil.Process(process.pid)
        assert (found in psutil.Process().children()) == (way == "no")
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        words = [word.replace(str(tmp_path / way), "DATA") for word in found.cmdline()]
        files = sorted(path.replace(str(tmp_path / way), "DATA") for path, *_ in found.open_files())
        files = [path for path in files if not path.endswith(".pyc")]  # it may still import
        place = (found.cwd() == str((tmp_path / way).resolve()), os.getpgid(process.pid), os.getsid(process.pid))
        process.terminate()
        out, errors = process.communicate(timeout=30)
        seen.append((words, files, place, out, errors, process.returncode, found.is_running()))
    assert seen[0] == seen[1]
    assert seen[0][-2:] == (0, False)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--port", "1000000"], ["--port", "x"], ["--seed", "nowhere"]], ids=str)
def test_an_emulator_that_does_not_start_says_why(tmp_path: Path, arguments: list[str]) -> None:
    ends = []
    for way in ("yes", "no"):
        process = started(tmp_path, way, *arguments)
        ends.append((*process.communicate(timeout=30), process.returncode))
    assert ends[0] == ends[1]
    assert ends[0][2] in (1, 2)


@pytest.mark.slow
def test_an_emulator_that_is_killed_is_told_of(tmp_path: Path) -> None:
    process = started(tmp_path, "yes")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL
    process.communicate()


def test_fork_servers_have_imported_what_emulators_ask_for() -> None:
    asked = {*programs.PRELOADED, *launcher._preloaded("sklearn", "predictor")}
    assert asked - set(server.OF_FORK_SERVERS) == set()


@pytest.mark.slow
def test_fifty_at_once(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path / "home")
    command, environment = forked(BIN / "python", "-c", "import sys; print(sys.argv[1])", environment=environment)
    running = [
        subprocess.Popen([*command, str(number)], env=environment, stdout=subprocess.PIPE, text=True)
        for number in range(50)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == [f"{number}\n" for number in range(50)]
    assert not any(process.returncode for process in running)


def test_one_that_ends_while_its_stand_in_does_is_not_asked_again() -> None:
    connection, other = socket.socketpair()
    running = server.Running(os.getpid(), connection, ends_with_us=False)
    connection.close()
    server._pass_on(running)
    other.close()


@pytest.mark.slow
def test_it_ends_with_the_tests(tmp_path: Path) -> None:
    """The process to fork from, and its folder, are gone when the one that started it was killed."""
    script = textwrap.dedent("""
        import os, sys, time
        from tests.forking.commands import forked
        command, _ = forked(sys.executable, "-c", "1", environment={"PATH": os.path.dirname(sys.executable)})
        print(command[0], flush=True)
        time.sleep(60)
    """)
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip()).parent
        servers = psutil.Process(process.pid).children()
        assert len(servers) == 3
        assert all((folder / each.cmdline()[-1]).exists() for each in servers)
        process.kill()
    for each in servers:
        each.wait(60)  # it may still import
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not folder.exists()
    assert not os.path.lexists(folder)
