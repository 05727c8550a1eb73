# ruff: noqa: T201  (it is a program)
"""A `docker` without an engine: what it would run in a container, it runs as a process.

As with the real one, the container sees the variables that it is given and no others; `docker run` is attached to it,
passes SIGTERM on and ends with its status; and the container lives on when `docker run` is killed. There are no mounts:
where a path of a mount stands in a word or a variable, the folder's own is put. Images are lines in a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STATE = Path(os.environ.get("DOCKER_CONFIG", ""))
CONTAINERS = STATE / "containers"
WITH_VALUE = ("--name", "--network", "--label", "--env", "--volume", "--entrypoint")


def main(arguments: list[str]) -> int:
    CONTAINERS.mkdir(parents=True, exist_ok=True)
    with (STATE / "calls").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    verb, rest = arguments[0], arguments[1:]
    if verb == "version":
        return _version()
    if verb in {"image", "pull"}:
        return _image(verb, rest[-1])
    if verb == "ps":
        return _list(rest[rest.index("--filter") + 1].removeprefix("label="))
    if verb == "rm":
        return _remove([name for name in rest if not name.startswith("--")])
    return _run(rest)


def _version() -> int:
    if (STATE / "down").exists():
        print("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", file=sys.stderr)
        return 1
    print("28.0.0")
    return 0


def _image(verb: str, uri: str) -> int:
    here, there = (STATE / "images").read_text().split(), (STATE / "registry").read_text().split()
    if verb == "pull" and uri in there:
        (STATE / "images").write_text("\n".join([*here, uri]))
        return 0
    if uri in here:
        print(json.dumps({"Env": ["PATH=/usr/bin:/bin", "PYTHONPATH=/of/the/image"], "User": ""}))
        return 0
    print(f"Error response from daemon: no such image: {uri}", file=sys.stderr)
    return 1


def _list(label: str) -> int:
    for path in CONTAINERS.iterdir():
        labels = json.loads(path.read_text())["labels"]
        if label in labels:
            (run,) = (text.partition("=")[2] for text in labels if text.startswith("vertex-emulator.run="))
            print(path.name, run)
    return 0


def _remove(names: list[str]) -> int:
    for path in CONTAINERS.iterdir():
        if path.name in names:
            _kill(json.loads(path.read_text())["pid"])
            path.unlink(missing_ok=True)
    return 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _run(arguments: list[str]) -> int:
    options: dict[str, Any] = {name: [] for name in WITH_VALUE}
    rest = list(arguments)
    while rest[0].startswith("--"):
        name = rest.pop(0)
        if name in WITH_VALUE:
            options[name].append(rest.pop(0))
    image, *words = rest
    if image not in (STATE / "images").read_text().split():
        return 125
    mounts = [text.removesuffix(":ro").rsplit(":", 1) for text in options["--volume"]]

    def moved(text: str) -> str:
        for path, inside in mounts:
            text = text.replace(inside, path)
        return text

    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}
    environment |= dict(moved(text).split("=", 1) for text in options["--env"])
    command = [moved(word) for word in [*options["--entrypoint"], *words]] or ["sh", "-c", "echo the image itself"]
    container = subprocess.Popen(command, env=environment, start_new_session=True)
    record = CONTAINERS / options["--name"][0]
    # Who lists the containers finds it whole, or not yet.
    new = STATE / f"{record.name}.new"
    new.write_text(json.dumps({"pid": container.pid, "labels": options["--label"], "network": options["--network"]}))
    new.rename(record)
    signal.signal(signal.SIGTERM, lambda *_: container.terminate())
    while container.poll() is None:
        time.sleep(0.01)
    record.unlink(missing_ok=True)
    return container.returncode if container.returncode >= 0 else 128 - container.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
