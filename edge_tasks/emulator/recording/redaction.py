"""What is taken out of a recording: who it was, in which project, and what is secret."""

from __future__ import annotations

import re
from typing import Any

PROJECT, NUMBER, PERSON, SECRET = "my-project", "100000000000", "person@example.com", "***"
IN_A_NAME = re.compile(r"(?<!\w)projects/((?:[^/\s\"':@]+:)?[^/\s\"':@]+)")
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]*)")
SECRET_NAME = re.compile(r"(?i)password|passwd|secret|token|api_?key|credential|authorization")
PARAMETER = re.compile(r"(?<![^&])((?:key|access_token|oauth_token)=)[^&]*")
# What Google calls a token, and is none.
NOT_SECRET = frozenset({"pageToken", "nextPageToken"})


class Redactor:
    """Replaces the same thing by the same word in all of a session."""

    def __init__(self) -> None:
        self._projects: dict[str, str] = {}
        self._buckets: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return a text without projects, people and buckets."""
        for match in IN_A_NAME.finditer(text):
            self._projects.setdefault(match[1], NUMBER if match[1].isdecimal() else PROJECT)
        text = ADDRESS.sub(PERSON, text)
        text = BUCKET.sub(lambda match: f"gs://{self._bucket(match[1])}", text)
        for project, word in self._projects.items():
            text = re.sub(rf"(?<![\w-]){re.escape(project)}(?![\w-])", word, text)
        return text

    def query(self, query: str) -> str:
        """Return the query of a request without them, and without a key."""
        return PARAMETER.sub(rf"\1{SECRET}", self.text(query))

    def value(self, value: Any, name: str = "") -> Any:
        """Return a value of JSON, at whatever depth, without them, and without secrets."""
        if isinstance(value, dict):
            # A variable: {"name": "API_TOKEN", "value": "..."}.
            own = value.get("name")
            hides = isinstance(own, str) and bool(SECRET_NAME.search(own))
            return {
                self.text(key): SECRET if hides and key == "value" else self.value(each, key)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [self.value(each, name) for each in value]
        if name not in NOT_SECRET and SECRET_NAME.search(name) and isinstance(value, str):
            return SECRET
        return self.text(value) if isinstance(value, str) else value

    def _bucket(self, name: str) -> str:
        return self._buckets.setdefault(name, f"bucket-{len(self._buckets) + 1}")
