"""Projects: each has an id that people use, and a number that Google's answers use."""

from __future__ import annotations

import hashlib

# Who acts in an emulator, where nobody says who they are.
ACCOUNT = "local@vertex-ai-emulator.iam.gserviceaccount.com"
# Google's numbers have eleven or twelve digits.
SMALLEST = 100_000_000_000


def project_number(project: str) -> int:
    """Return the number of a project, given its id or its number: always the same one, on every machine."""
    if project.isascii() and project.isdigit():
        return int(project)
    return SMALLEST + int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big") % (9 * SMALLEST)
