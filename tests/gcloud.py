"""Google's own command line, led to an emulator."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.emulator.harness import Emulator
from tests.forking import commands

PROJECT = "test-project"
REGION = "us-central1"


class Gcloud:
    """Runs commands of gcloud in a folder, and counts them."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.count = 0
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CLOUDSDK_", "PYTHON"))},
            "CLOUDSDK_AI_REGION": REGION,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{emulator.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{emulator.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{emulator.storage_url}/storage/v1/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CONFIG": str(folder / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            **commands.gcloud_s_interpreter(),
        }

    def __call__(self, command: str, *arguments: str, status: int = 0) -> str:
        """Run a command of words, then of words that may hold spaces; return what it prints, or its error."""
        self.count += 1
        ran = subprocess.run(
            ["gcloud", *command.split(), *arguments],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == status, f"{command}\n{ran.stderr}"
        return ran.stdout if status == 0 else ran.stderr

    def told(self, command: str, *arguments: str) -> Any:
        """What a command tells, as JSON."""
        return json.loads(self(command, *arguments, "--format=json"))

    def only(self, command: str) -> str:
        """The name of the only resource that a command lists."""
        (found,) = self.told(command)
        return str(found["name"])
