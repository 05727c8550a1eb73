"""What has to be known of a model server before it is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ServerPlan:
    """How a model server is started.

    Paths are relative to the data folder, which is our working directory: the path of a Unix socket may have
    107 bytes at most, and a data folder may lie anywhere.
    """

    key: str
    framework: str
    artifacts: Path
    health_route: str
    predict_route: str
    environment: dict[str, str] = field(default_factory=dict)
    # Variables of the model's own are for libraries, which read them while they are imported.
    own_interpreter: bool = False

    @property
    def role(self) -> str:
        """What the process is, in the store."""
        return f"model {self.key}"

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return Path("sockets") / f"{self.key}.sock"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return Path("servers") / f"{self.key}.log"
