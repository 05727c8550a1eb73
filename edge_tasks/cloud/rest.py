"""Answers of Google's REST APIs that are asked without a client of the SDK: what they say, and their pages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edge_tasks.errors import CloudError


def read(response: Any) -> tuple[dict[str, Any] | None, str]:
    """Return the JSON object of an answer, and the message of its error.

    None stands for what is not an object, such as a proxy's page; the message is empty when none can be read.

    https://cloud.google.com/apis/design/errors#http_mapping
    """
    try:
        found = response.json()
    except ValueError:
        return None, ""
    if not isinstance(found, dict):
        return None, ""
    error = found.get("error")
    return found, str(error.get("message") or "") if isinstance(error, dict) else ""


def pages(
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    parameters: Mapping[str, Any],
    most: int | None = None,
    whose: str = "the answer",
) -> Iterator[dict[str, Any]]:
    """Yield the pages of a list: `ask` is called with the parameters, and with each page's token for the next one.

    Raises CloudError after `most` pages, if there are more.

    https://google.aip.dev/158
    """
    following = dict(parameters)
    for number in itertools.count(1):
        page = ask(following)
        yield page
        token = page.get("nextPageToken")
        if not token:
            return
        if number == most:
            raise CloudError(f"{whose} has more than {most} pages", "try again later")
        following = {**parameters, "pageToken": token}
