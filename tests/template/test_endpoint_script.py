"""test_endpoint.sh: what it posts, what it prints, and what it says when something is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Bake = Callable[..., Path]

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("curl") is None, reason="bash or curl is not installed"
)


class Endpoint(ThreadingHTTPServer):
    """Answers every request with `reply`, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.before: list[tuple[int, dict[str, Any]]] = []  # what is answered first
        self.reply: tuple[int, dict[str, Any]] = (200, {"predictions": [1, 1], "deployedModelId": "1"})
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/projects/p/locations/l/endpoints/1:predict"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        status, answer = self.server.before.pop(0) if self.server.before else self.server.reply
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that is all of PATH: the few programs that the script needs, and stand-ins put there by the test."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("bash", "sh", "cat", "dirname", "curl"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def put(programs: Path, name: str, script: str) -> None:
    (programs / name).unlink(missing_ok=True)
    (programs / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
    (programs / name).chmod(0o755)


def ask(repository: Path, programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [repository / "test_endpoint.sh", *arguments],
        cwd="/",
        env={"PATH": str(programs), "http_proxy": "http://127.0.0.1:9", "HOME": str(programs)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_posts_the_payload_without_a_token_and_prints_the_answer(
    baked: Path, programs: Path, endpoint: Endpoint
) -> None:
    put(programs, "invoke", f'echo "$@" > "$0.arguments"; echo {endpoint.url}')
    done = ask(baked, programs)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == endpoint.reply[1]
    ((path, headers, body),) = endpoint.requests
    assert path.endswith("/endpoints/1:predict")
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert body == json.loads((baked / "test_payload.json").read_text())
    assert (programs / "invoke.arguments").read_text() == "model.get-endpoint --url\n"


@pytest.mark.parametrize("words", [("second",), ("--name", "second"), ("--name=second",)])
def test_a_model_s_name_chooses_endpoint_and_payload(
    bake: Bake, programs: Path, endpoint: Endpoint, words: tuple[str, ...]
) -> None:
    baked = bake()
    shutil.copytree(baked / "models/hello-world", baked / "models/second")
    (baked / "models/second/test_payload.json").write_text('{"instances": [[7]]}')
    put(programs, "invoke", f'echo "$@" > "$0.arguments"; echo {endpoint.url}')
    assert ask(baked, programs, *words).returncode == 0
    assert endpoint.requests[0][2] == {"instances": [[7]]}
    assert (programs / "invoke.arguments").read_text() == "model.get-endpoint --name second --url\n"


def test_a_model_that_has_scaled_to_zero_is_waited_for(baked: Path, programs: Path, endpoint: Endpoint) -> None:
    message = "Model is not yet ready for inference. Please wait and then try your request again."
    endpoint.before = [(429, {"error": {"code": 429, "message": message}})] * 3
    put(programs, "invoke", f"echo {endpoint.url}")
    put(programs, "sleep", 'echo "$@" >> "$0.seconds"')
    done = ask(baked, programs)
    assert (done.returncode, json.loads(done.stdout)) == (0, endpoint.reply[1])
    assert done.stderr == "> the model has scaled to zero, and starts now: waiting for it\n"
    assert (programs / "sleep.seconds").read_text().split() == ["1", "2", "3"]
    # Another reason for 429 is not waited for.
    endpoint.before = [(429, {"error": {"code": 429, "message": "Quota exceeded"}})]
    assert "Quota exceeded" in ask(baked, programs).stderr


@pytest.mark.parametrize(
    ("code", "fact", "hint"),
    [
        (400, "The endpoint refused test_payload.json", "Write into it what the model takes; "),
        (503, "No predictions from {url}: it answered 503", "`invoke model.list` shows what is deployed; "),
    ],
)
def test_a_refused_request_shows_the_answer_and_fails(
    baked: Path, programs: Path, endpoint: Endpoint, code: int, fact: str, hint: str
) -> None:
    endpoint.reply = (code, {"error": {"message": "bad instances"}})
    put(programs, "invoke", f"echo {endpoint.url}")
    done = ask(baked, programs)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "bad instances" in done.stderr
    assert f"error: {fact.format(url=endpoint.url)}\n\nhint: {hint}" in done.stderr


def test_an_https_endpoint_gets_gcloud_s_token_and_not_on_a_command_line(baked: Path, programs: Path) -> None:
    put(programs, "invoke", "echo https://us-central1-aiplatform.googleapis.com/v1/endpoints/1:predict")
    put(programs, "gcloud", '[ "$*" = "auth print-access-token" ] && echo s3cret')
    put(programs, "curl", 'echo "$@" > "$0.arguments"; cat > "$0.input"; echo "{}"')
    done = ask(baked, programs)
    assert (done.returncode, done.stdout) == (0, "{}\n")
    arguments = (programs / "curl.arguments").read_text()
    assert "https://us-central1-aiplatform.googleapis.com/v1/endpoints/1:predict" in arguments
    assert "s3cret" not in arguments
    assert (programs / "curl.input").read_text() == "Authorization: Bearer s3cret\n"


def test_what_invoke_says_is_all_that_is_said_when_there_is_no_endpoint(baked: Path, programs: Path) -> None:
    put(programs, "invoke", "echo 'error: not deployed' >&2; exit 1")
    done = ask(baked, programs)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: not deployed\n")


@pytest.mark.parametrize(
    ("arguments", "missing", "fact", "hint"),
    [
        ((), "invoke", "`invoke` is not on the PATH", "source .venv/bin/activate"),
        ((), "curl", "`curl` is not on the PATH", "invoke model.predict"),
        ((), "gcloud", "`gcloud` is not on the PATH", "https://cloud.google.com/sdk"),
        (("nothing",), "", "There is no model `nothing`", "`invoke model.list`"),
        (("--nam",), "", "`--nam` is not an option", "./test_endpoint.sh [MODEL_NAME]"),
        (("a", "b"), "", "there are 2 arguments", "./test_endpoint.sh [MODEL_NAME]"),
    ],
)
def test_what_is_missing_is_named_with_a_way_out(
    baked: Path, programs: Path, arguments: tuple[str, ...], missing: str, fact: str, hint: str
) -> None:
    put(programs, "invoke", "echo https://example.test/v1")
    put(programs, "gcloud", "echo token")
    (programs / missing).unlink() if missing else None
    done = ask(baked, programs, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert fact in done.stderr
    assert hint in done.stderr.split("\n\nhint: ")[1]


def test_help_is_shown(baked: Path, programs: Path) -> None:
    done = ask(baked, programs, "--help")
    assert (done.returncode, done.stdout) == (0, "Usage: ./test_endpoint.sh [MODEL_NAME]\n")
