"""A machine with a Docker engine, of which `docker_stand_in` takes the place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.emulator import docker_stand_in

IMAGE = "us-docker.pkg.dev/my-project/my-repository/image:1"


class Engine:
    """What the stand-in knows."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        (self.state / "images").write_text("")
        (self.state / "registry").write_text(IMAGE)
        program = folder / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {docker_stand_in.__file__} "$@"\n')
        program.chmod(0o755)
        self.environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "DOCKER_CONFIG": str(self.state)}

    def calls(self, verb: str) -> list[list[str]]:
        lines = (self.state / "calls").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call[0] == verb]

    def pids(self) -> list[int]:
        """The processes of the containers that run."""
        folder = self.state / "containers"
        return [json.loads(path.read_text())["pid"] for path in folder.iterdir()] if folder.is_dir() else []
