"""The vertex-edge that is installed here: where it came from, which pip and uv write down (PEP 610)."""

from __future__ import annotations

import json
from importlib import metadata

from edge_tasks import __version__

PACKAGE = "vertex-edge[local]"


def requirement() -> str:
    """Return the line of a requirements.txt that installs this very vertex-edge once more."""
    try:
        recorded = metadata.distribution("vertex-edge").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        recorded = None
    if not recorded:
        return f"{PACKAGE}=={__version__}"
    origin = json.loads(recorded)
    version_control = origin.get("vcs_info")
    if version_control:
        return f"{PACKAGE} @ {version_control['vcs']}+{origin['url']}@{version_control['commit_id']}"
    return f"{PACKAGE} @ {origin['url']}"
