"""`python -m edge_tasks.emulator.recording record|replay`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

import requests

from edge_tasks.emulator.errors import StartError
from edge_tasks.emulator.recording import exchange
from edge_tasks.emulator.recording.proxy import Proxy
from edge_tasks.emulator.recording.replay import Replay

GOOGLE = "https://us-central1-aiplatform.googleapis.com"


def main() -> int:
    """Record a session, or replay one; return the exit status: 1 when answers differ."""
    parser = argparse.ArgumentParser(prog="python -m edge_tasks.emulator.recording")
    actions = parser.add_subparsers(dest="action", required=True)
    record = actions.add_parser("record", help="pass requests on, and write them down, until Ctrl-C")
    record.add_argument("--output", type=Path, required=True, metavar="FILE", help="a new file")
    record.add_argument("--to", default=GOOGLE, metavar="URL", help=f"the API's address (default: {GOOGLE})")
    record.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    replay = actions.add_parser("replay", help="compare the emulator's answers with a recording")
    replay.add_argument("file", type=Path)
    replay.add_argument("--to", required=True, metavar="URL", help="the emulator's address")
    replay.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="such as bucket-1=my-bucket")
    replay.add_argument("--json", action="store_true", help="print what differs as JSON")
    arguments = parser.parse_args()
    try:
        if arguments.action == "record":
            return _record(arguments.to.rstrip("/"), arguments.output, arguments.port)
        return _replay(arguments.file, arguments.to.rstrip("/"), arguments.set, as_json=arguments.json)
    except StartError as error:
        print(f"error: {error.problem}\n\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return 1


def _record(target: str, output: Path, port: int) -> int:
    try:
        proxy = Proxy(target, output, port)
    except (OSError, OverflowError) as error:
        raise StartError(f"no session can be recorded in {output}: {error}", "choose another file or --port") from None
    print(f"recording what is asked of {proxy.url} in {output}; Ctrl-C ends it", file=sys.stderr, flush=True)  # noqa: T201
    print(proxy.url, flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        proxy.serve()
    return 0


def _replay(path: Path, address: str, given: list[str], *, as_json: bool) -> int:
    wrong = [text for text in given if not all(text.partition("="))]
    if wrong:
        raise StartError(f"--set {wrong[0]} is not NAME=VALUE", "such as --set bucket-1=my-bucket")
    replay = Replay(address, dict(text.split("=", 1) for text in given))
    count = 0
    differing = []
    for number, each in enumerate(exchange.read(path), 1):
        count += 1
        try:
            found = replay.differences(each)
        except requests.RequestException as error:
            raise StartError(f"the emulator does not answer: {error}", "invoke local.start") from None
        if found:
            differing.append({"request": number, "method": each.method, "path": each.path, "differences": found})
        for line in found if not as_json else ():
            print(f"{number} {each.method} {each.path}: {line}")  # noqa: T201
    if as_json:
        print(json.dumps({"requests": count, "different": differing}, indent=2))  # noqa: T201
    print(f"{count} requests, {len(differing)} answered differently", file=sys.stderr)  # noqa: T201
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
