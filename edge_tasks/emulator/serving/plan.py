"""What has to be known of a model server before it is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

# Where a model server listens: a Unix socket, or a port of 127.0.0.1.
Address: TypeAlias = str | int


@dataclass(frozen=True)
class CustomContainer:
    """The image of a model's own, and what is to run in it."""

    image: str
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    port: int


@dataclass(frozen=True)
class ServerPlan:
    """How a model server is started: in its own container, or by a program that stands for a prebuilt image.

    Paths are relative to the data folder, which is our working directory: the path of a Unix socket may have
    107 bytes at most, and a data folder may lie anywhere.
    """

    key: str
    # The prebuilt image's; empty for a custom container.
    framework: str
    artifacts: Path
    health_route: str
    predict_route: str
    environment: dict[str, str] = field(default_factory=dict)
    # Variables of the model's own are for libraries, which read them while they are imported.
    own_interpreter: bool = False
    container: CustomContainer | None = None

    @property
    def role(self) -> str:
        """What the process is, in the store."""
        return f"model {self.key}"

    @property
    def socket(self) -> Path:
        """The socket that the server listens on, unless it is a container."""
        return Path("sockets") / f"{self.key}.sock"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return Path("servers") / f"{self.key}.log"
