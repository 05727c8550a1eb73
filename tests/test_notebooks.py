"""A running kernel's Google clients are led to the repository's target; the template's notebook runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repositories import ROOT, Repository, copy

# As a kernel does it: one cell after the other in one process, with the last expression shown.
KERNEL = """\
import ast, json, sys
cells, names = json.load(sys.stdin), {"__name__": "__main__"}
for source in cells:
    body = ast.parse(source).body
    shown = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if shown:
        print(">", eval(compile(shown, "cell", "eval"), names), flush=True)
"""


@pytest.fixture(scope="module")
def served(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository whose model serves, with credentials of somebody's, whom nothing may go to Google for."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("notebook"))
    try:
        repository.run("invoke", "init")
        repository.run("python", "models/hello-world/train.py", "with", "is_vertex=False")
        repository.run("invoke", "model.deploy")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


def run_cells(repository: Repository, *cells: str, key: str = "") -> list[str]:
    """Run cells in the folder notebooks/; return what they show. Any request to Google fails: there is no network."""
    script = repository.root / "notebooks" / "kernel.py"
    script.write_text(KERNEL.replace("json.load(sys.stdin)", repr(list(cells))))
    # What is imported first matters, and a fork has imported all of it: with this the interpreter starts by itself.
    done = repository.run(
        "python",
        "notebooks/kernel.py",
        HTTPS_PROXY="http://127.0.0.1:9",
        GOOGLE_APPLICATION_CREDENTIALS=key,
        PYTHONNOUSERSITE="1",
    )
    return [line for line in done.stdout.splitlines() if line.startswith("> ")]


@pytest.mark.slow
def test_the_notebook_of_the_template_runs_and_asks_the_model(served: Repository) -> None:
    notebook = json.loads((served.root / "notebooks" / "first-look.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    # As with credentials for Google on the machine, which are to be of no use here.
    shown = run_cells(served, *cells, key="/no/such/key.json")
    assert "target='local'" in shown[0]
    assert "/models/" in shown[1]
    assert shown[2].startswith("> [1")
    assert "vertex" in shown[3]


CONNECT = "from edge_tasks.local import connect\nconnect()"


@pytest.mark.slow
def test_a_kernel_that_was_used_before_is_led_too_and_nothing_goes_to_google(served: Repository) -> None:
    shown = run_cells(
        served,
        # Loaded, and set up for Google, but no client is made yet.
        "from google.cloud import aiplatform, storage\nimport google.auth.transport.requests as transport\n"
        "from google.auth.credentials import AnonymousCredentials\n"
        "aiplatform.init(project='p', location='us-central1', credentials=AnonymousCredentials())",
        CONNECT,
        "len(aiplatform.Endpoint.list())",
        CONNECT,
        "storage.Client()._connection.API_BASE_URL.startswith('http://127.0.0.1:')",
        "try:\n    transport.AuthorizedSession(AnonymousCredentials()).get('https://bigquery.googleapis.com/x')\n"
        "except Exception as error:\n    told = error",
        "str(told).partition(chr(10))[0]",
        "import subprocess, sys\nprogram = 'from google.cloud import aiplatform as a; print(len(a.Endpoint.list()))'\n"
        "subprocess.run([sys.executable, '-c', program], capture_output=True, text=True).stdout.strip()",
    )
    assert shown[2] == "> 1"
    assert shown[4] == "> True"
    assert shown[5] == "> the target is local, and the emulator has no bigquery.googleapis.com: nothing was sent"
    assert shown[6] == "> 1"


STARTUP = f"import runpy\n_ = runpy.run_path({str(ROOT / 'scripts' / 'kernel_startup.py')!r})"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "asks", "expected"),
    [
        ("from google.cloud import aiplatform", "len(aiplatform.Endpoint.list())", "> 1"),
        (
            "from google.cloud import storage",
            "storage.Client()._connection.API_BASE_URL.startswith('http://127.0.0.1:')",
            "> True",
        ),
        (
            "import google.auth\nfrom google.auth.transport.requests import AuthorizedSession",
            "google.auth.default()[0].__class__.__name__, AuthorizedSession.request.stays_here",
            "> ('AnonymousCredentials', True)",
        ),
        (
            "from google.cloud.aiplatform_v1 import ModelServiceClient",
            "len(list(ModelServiceClient().list_models(parent='projects/my-gcp-project/locations/us-central1')))",
            "> 1",
        ),
    ],
)
def test_a_kernel_that_never_connects_is_led_by_what_ipython_runs_when_it_starts(
    served: Repository, first: str, asks: str, expected: str
) -> None:
    assert run_cells(served, STARTUP, first, asks, key="/no/such/key.json") == [expected]


@pytest.mark.slow
def test_where_the_target_cannot_be_told_no_client_of_google_is_loaded(served: Repository) -> None:
    edge_yaml = served.root / "edge.yaml"
    text = edge_yaml.read_text()
    cells = [
        STARTUP,
        "try:\n    from google.cloud import storage\nexcept Exception as error:\n    told = str(error)",
        "told",
    ]
    edge_yaml.write_text("target: [")
    try:
        assert "`edge.yaml` is not valid YAML" in run_cells(served, *cells)[0]
    finally:
        edge_yaml.write_text(text)


@pytest.mark.slow
def test_with_target_gcp_a_kernel_is_left_as_it_is(served: Repository) -> None:
    script = served.root / "notebooks" / "kernel.py"
    cells = [STARTUP, "from google.cloud import storage\nimport os\n'STORAGE_EMULATOR_HOST' in os.environ"]
    script.write_text(KERNEL.replace("json.load(sys.stdin)", repr(cells)))
    assert served.run("python", "notebooks/kernel.py", EDGE_TARGET="gcp", PYTHONNOUSERSITE="1").stdout == "> False\n"


@pytest.mark.slow
def test_clients_that_were_made_before_and_would_go_to_google_are_named(served: Repository) -> None:
    shown = run_cells(
        served,
        "from google.cloud import storage\nfrom google.auth.credentials import AnonymousCredentials\n"
        "client = storage.Client(project='p', credentials=AnonymousCredentials())",
        f"try:\n    {CONNECT.replace(chr(10), chr(10) + '    ')}\nexcept Exception as error:\n    told = str(error)",
        "told.replace(chr(10), ' ')",
        "import os\n'STORAGE_EMULATOR_HOST' in os.environ",
    )
    assert "a client was made before connect(), and goes to Google: google.cloud.storage.client.Client" in shown[0]
    assert shown[0].endswith("hint: restart the kernel, and connect first")
    assert shown[1] == "> False"
