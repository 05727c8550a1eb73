"""A server that does nothing: every GET and every POST has the answer that was read from stdin.

What a client takes with it is the client's own time. `python -m benchmarks.fixed_answers` prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import requests

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@contextlib.contextmanager
def serving(answers: Mapping[str, requests.Response]) -> Iterator[str]:
    """Serve `answers` (by method), with their headers, in its own process for the block; gives its address."""
    texts = {method: _as_sent(answer) for method, answer in answers.items()}
    command = [sys.executable, "-m", "benchmarks.fixed_answers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(texts) + "\n")
            process.stdin.flush()
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self._answers = answers
        self._waiting = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        head, end, body = self._waiting.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._waiting = b""
            self._transport.write(self._answers[head.partition(b" ")[0].decode()])


def _as_sent(answer: requests.Response) -> str:
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    return f"HTTP/1.1 {answer.status_code} {answer.reason}\r\n{headers}\r\n{answer.text}"


async def _serve(answers: Mapping[str, str]) -> None:
    whole = {method: answer.encode() for method, answer in answers.items()}
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(whole), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.stdin.readline())))
