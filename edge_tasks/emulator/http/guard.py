"""What a web page may not do.

A page that the user happens to visit can send requests to 127.0.0.1, and a job is code. Browsers name the
page they act for; clients of the API name none. A Host that is not this machine is a page as well, by way of
a DNS name that points here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import ApiError, Code

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})


def check(headers: Mapping[str, str]) -> None:
    """Refuse a request that a foreign page could have sent."""
    host = headers.get("host", "")
    name, _, port = host.partition(":")
    if name.lower() not in LOCAL_NAMES or (port and not port.isdigit()):
        raise ApiError(
            Code.PERMISSION_DENIED, f"The Host header {host[:100]!r} is refused: use 127.0.0.1 or localhost."
        )
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        raise ApiError(Code.PERMISSION_DENIED, f"Requests of the web page {origin[:100]!r} are refused.")
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise ApiError(Code.PERMISSION_DENIED, "Requests of other web pages are refused.")
