"""What every service works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_tasks.emulator.clock import Clock
    from edge_tasks.emulator.http.transcoding import Transcoder
    from edge_tasks.emulator.runtime.bucket import Storage
    from edge_tasks.emulator.runtime.docker import Docker
    from edge_tasks.emulator.runtime.environments import Environments
    from edge_tasks.emulator.runtime.job_environment import Servers
    from edge_tasks.emulator.schema.surface import Surface
    from edge_tasks.emulator.serving.model_server import ModelServers
    from edge_tasks.emulator.store.database import Database


@dataclass(frozen=True)
class Context:
    """The parts of the emulator, made once at start-up."""

    surface: Surface
    transcoder: Transcoder
    database: Database
    data: Path
    servers: Servers
    storage: Storage
    model_servers: ModelServers
    engine: Docker
    environments: Environments
    clock: Clock
