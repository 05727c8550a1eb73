"""Who is logged in to this machine."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Return the login name, or `unknown` where the machine has none for this user (as in some containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
