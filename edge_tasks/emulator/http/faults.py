"""Faults on demand: errors and delays that a user asks for, to see how a program bears them.

A fault goes for an RPC or for all, happens at a rate, and speaks Google's own words where they are known (see
docs/fidelity.md). They are kept in memory: an emulator that starts has none. `POST /_emulator/faults` adds one, GET
lists them, DELETE removes them all.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_tasks.emulator.errors import ApiError, Code, invalid
from edge_tasks.emulator.http.exchange import Reply, Request, json_reply

ANY = "*"
LONGEST_DELAY = 600.0
FIELDS = frozenset({"rpc", "error", "message", "rate", "delay", "count"})
DURATION = re.compile(r"(\d+(?:\.\d+)?)s?")
# As users of Vertex AI have quoted them.
TEXTS = {
    Code.RESOURCE_EXHAUSTED: "The following quota metrics exceed quota limits: aiplatform.googleapis.com/{quota}",
    Code.PERMISSION_DENIED: (
        "Permission 'aiplatform.{permission}' denied on resource '//aiplatform.googleapis.com/{resource}'"
        " (or it may not exist)."
    ),
    Code.UNAVAILABLE: "The service is currently unavailable.",
    Code.INTERNAL: "Internal error encountered.",
    Code.DEADLINE_EXCEEDED: "Deadline expired before operation could complete.",
}
# Which quota an RPC uses up; all others are counted as requests.
QUOTAS = {
    "CreateCustomJob": "custom_model_training_cpus",
    "CreateHyperparameterTuningJob": "custom_model_training_cpus",
    "CreateTrainingPipeline": "custom_model_training_cpus",
    "DeployModel": "custom_model_serving_cpus",
    "MutateDeployedModel": "custom_model_serving_cpus",
}
OTHER_QUOTA = "resource_management_requests"


@dataclass
class Fault:
    """One fault: an error, a delay, or the one after the other."""

    rpc: str
    error: Code | None
    message: str
    rate: float
    delay: float
    count: int | None

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        error = self.error.name if self.error else ""
        return {
            "rpc": self.rpc,
            "error": error,
            "message": self.message,
            "rate": self.rate,
            "delay": self.delay,
            "count": self.count,
        }


class Faults:
    """The faults that were asked for."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self._faults: list[Fault] = []
        self._random = random.Random()  # noqa: S311  (which request fails is not secret)
        self._listener: Callable[[], None] = lambda: None

    def when_added(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when there is one more."""
        self._listener = listener

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._faults)

    async def meet(self, rpc: str, resource: str) -> None:
        """Let a request to an RPC have what was asked for: ApiError when that is an error."""
        for fault in list(self._faults):
            if fault.rpc not in {ANY, rpc} or fault.count == 0 or self._random.random() >= fault.rate:
                continue
            if fault.count is not None:
                fault.count -= 1
            await asyncio.sleep(fault.delay)
            if fault.error is not None:
                raise ApiError(fault.error, fault.message or _text(fault.error, rpc, resource))

    async def add(self, request: Request) -> Reply:
        """Add a fault."""
        self._faults.append(_read(request.json(), self._names))
        self._listener()
        return self._listed()

    async def list(self, _: Request) -> Reply:
        """List the faults."""
        return self._listed()

    async def clear(self, _: Request) -> Reply:
        """Remove all faults."""
        self._faults.clear()
        return self._listed()

    def _listed(self) -> Reply:
        return json_reply({"faults": [fault.told() for fault in self._faults]})


def _read(body: Mapping[str, Any], names: set[str]) -> Fault:
    unknown = sorted(body.keys() - FIELDS)
    if unknown:
        raise invalid(f"A fault has no {unknown[0]!r}; it has {', '.join(sorted(FIELDS))}.")
    rpc = body.get("rpc", ANY)
    if rpc != ANY and rpc not in names:
        raise invalid(f"{rpc!r} is not an RPC of Vertex AI that is emulated, such as DeployModel or Predict.")
    name = body.get("error") or ""
    if name and name not in Code.__members__:
        raise invalid(f"{name!r} is not a code of an error: {', '.join(Code.__members__)}.")
    rate, delay = body.get("rate", 1.0), _seconds(body.get("delay", 0))
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
        raise invalid("rate must be a number above 0, at most 1: the share of requests that it happens to.")
    count = body.get("count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise invalid("count must be a whole number of 1 or more: how often it happens at most.")
    if not name and not delay:
        raise invalid("A fault needs an error, a delay, or both.")
    message = body.get("message") or ""
    if not isinstance(message, str):
        raise invalid("message must be text.")
    return Fault(rpc, Code[name] if name else None, message, float(rate), delay, count)


def _seconds(given: Any) -> float:
    match = DURATION.fullmatch(str(given))
    if match is None or float(match.group(1)) > LONGEST_DELAY:
        raise invalid(f"delay must be seconds, such as 20s, at most {LONGEST_DELAY:g}.")
    return float(match.group(1))


def _text(code: Code, rpc: str, resource: str) -> str:
    verb, kind = re.match(r"([A-Z][a-z]+)(.*)", rpc).groups()  # type: ignore[union-attr]
    collection = f"{kind[:1].lower()}{kind[1:]}s" if kind else "endpoints"
    return TEXTS.get(code, "A fault that was asked for with local.chaos.").format(
        quota=QUOTAS.get(rpc, OTHER_QUOTA), permission=f"{collection}.{verb.lower()}", resource=resource
    )
