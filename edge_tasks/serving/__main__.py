"""The program that a prediction container runs: `python -m edge_tasks.serving [--artifacts FOLDER] [--socket PATH]`.

Without options it is what Vertex AI expects: the port is AIP_HTTP_PORT, the routes AIP_HEALTH_ROUTE and
AIP_PREDICT_ROUTE, the artifact AIP_STORAGE_URI. With `--socket` it listens on a Unix socket instead of the port.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edge_tasks.serving import sklearn_tags
from edge_tasks.serving.artifacts import ArtifactError, fetch
from edge_tasks.serving.borrowed import Borrower
from edge_tasks.serving.model_files import ModelFileError
from edge_tasks.serving.own_code import OwnCodeError, make_predictor
from edge_tasks.serving.predictor import answer
from edge_tasks.serving.predictor_model import PredictorModel, model_of
from edge_tasks.serving.server import THREADS, ModelServer, Routes

# Seconds that requests have to be answered when the server ends.
_GRACE = 20.0

LOG = logging.getLogger("edge_tasks.serving")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m edge_tasks.serving", description="Serve one model.")
    parser.add_argument("--artifacts", default=os.environ.get("AIP_STORAGE_URI", ""), help="gs:// address or folder")
    parser.add_argument("--socket", help="a Unix socket to listen on, instead of a port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    routes = Routes(
        health=os.environ.get("AIP_HEALTH_ROUTE", "/health").encode(),
        predict=os.environ.get("AIP_PREDICT_ROUTE", "/predict").encode(),
    )
    server = ModelServer(routes, int(os.environ.get("EDGE_SERVING_THREADS", THREADS)))
    listener = _listener(options.socket)
    is_copied = options.artifacts.startswith("gs://")
    folder = Path(tempfile.mkdtemp(prefix="edge-artifact-") if is_copied else options.artifacts)
    status = 1
    try:
        status = _run(_serve(server, listener, options.artifacts, folder))
    finally:
        if is_copied:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.flush()
        # A prediction that hangs, and a model that still loads, must not keep the container.
        os._exit(status)


def load(uri: str, folder: Path) -> Any:
    """Return a predictor that has loaded the artifact at `uri`, and has answered the signature's example once.

    The first answer takes longest: libraries are imported, and threads made.
    """
    artifacts = fetch(uri, folder)
    predictor = make_predictor(artifacts)
    predictor.load(str(artifacts))
    signature = getattr(predictor, "signature", None)
    if signature is not None and signature.example is not None:
        # Whether it answers is the release's question; one's own predictor may take other instances.
        try:
            answer(predictor, {"instances": [signature.example]})
        except Exception as error:
            LOG.warning("the example in signature.json is not answered: %s", error)
    return predictor


def _load(uri: str, folder: Path) -> PredictorModel:
    model = model_of(load(uri, folder), folder)
    sklearn_tags.look_once_per_class()
    return model


async def _serve(server: ModelServer, listener: socket.socket, uri: str, folder: Path) -> int:
    loop = asyncio.get_running_loop()
    listening = (
        await loop.create_unix_server(server.connection, sock=listener)
        if listener.family == socket.AF_UNIX
        else await loop.create_server(server.connection, sock=listener)
    )
    borrower = Borrower(server, listener.getsockname()) if listener.family == socket.AF_UNIX else None
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    started = time.perf_counter()
    loading: asyncio.Future[Any] = loop.run_in_executor(None, _load, uri, folder)
    waiting = asyncio.ensure_future(ended.wait())
    await asyncio.wait([loading, waiting], return_when=asyncio.FIRST_COMPLETED)
    if not ended.is_set():
        try:
            server.model = await loading
        except (ArtifactError, ModelFileError, OwnCodeError) as error:
            LOG.error("the model cannot be loaded: %s", error)  # noqa: TRY400  one line says it all
            return 1
        except ModuleNotFoundError as error:
            LOG.exception("the model cannot be loaded: it needs %s, which is not here", error.name)
            return 1
        except Exception:
            LOG.exception("the model cannot be loaded")
            return 1
        LOG.info("the model was loaded in %.2f s", time.perf_counter() - started)
    await waiting
    server.ending = True
    listening.close()
    if borrower is not None:
        borrower.close()
    deadline = loop.time() + _GRACE
    while any(one.busy for one in server.connections) and loop.time() < deadline:
        await asyncio.sleep(0.02)
    for one in list(server.connections):
        one.close()
    return 0


def _listener(path: str | None) -> socket.socket:
    if path is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        # With the protocol named, asyncio turns off Nagle's algorithm, which would hold small answers back for 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host = os.environ.get("EDGE_SERVING_HOST", "0.0.0.0")  # noqa: S104  a container is asked from outside
        listener.bind((host, int(os.environ.get("AIP_HTTP_PORT", "8080"))))
    listener.listen(1024)
    return listener


def _run(main: Any) -> int:
    try:
        import uvloop
    except ImportError:
        return int(asyncio.run(main))
    return int(uvloop.run(main))


if __name__ == "__main__":
    main()
