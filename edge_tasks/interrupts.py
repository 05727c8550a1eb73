"""Being asked to end: SIGTERM, which CI and supervisors send, is taken like Ctrl-C, so that work is tidied up."""

from __future__ import annotations

import signal
import threading


def take_sigterm_like_ctrl_c() -> None:
    """Let SIGTERM raise KeyboardInterrupt. Python allows it in the main thread only; elsewhere nothing changes."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
