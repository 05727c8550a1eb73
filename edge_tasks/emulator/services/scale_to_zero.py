"""Deployed models that go to no replica when nobody asks: `min_replica_count` 0 with `scale_to_zero_spec`, in v1beta1.

https://docs.cloud.google.com/vertex-ai/docs/predictions/autoscaling#scale-to-zero, a preview: the first request after
that is dropped and answered with 429, and starts the model; so are those that come until it is up. It goes by the
emulator's clock. An emulator that starts again takes every model for one that is up since then.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from edge_tasks.emulator.clock import Watch
from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.serving.model_server import ModelServer

# https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/DedicatedResources#ScaleToZeroSpec: seconds.
SHORTEST, LONGEST, DEFAULT = 300, 28800, 3600
PERIODS = ("min_scaleup_period", "idle_scaledown_period")
# What is at zero for so long is undeployed.
FORGOTTEN = timedelta(days=30)
# In Google's words.
NOT_READY = (
    "Model is not yet ready for inference. Please wait while model completes scale-up from zero, then try your request"
    " again."
)
LOG = logging.getLogger(__name__)


@dataclass
class _Followed:
    """A deployed model: since when it is up, when it was asked last, and since when it is at zero."""

    stays: timedelta
    idle: timedelta
    up: datetime
    asked: datetime
    zero: datetime | None = None
    starting: asyncio.Task[None] | None = None

    @property
    def due(self) -> datetime:
        """When it goes to zero, or when it is undeployed."""
        return self.zero + FORGOTTEN if self.zero else max(self.up + self.stays, self.asked + self.idle)


class ScaleToZero:
    """The deployed models that may go to zero, by their endpoint's name and their id."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._watch = Watch(context.clock, self._look, self._pause)
        self._work: set[asyncio.Task[None]] = set()
        self._undeploy: Callable[[str, str], None] = lambda _endpoint, _id: None

    def when_forgotten(self, undeploy: Callable[[str, str], None]) -> None:
        """Have `undeploy` called for what has been at zero for too long."""
        self._undeploy = undeploy

    def follow(self, endpoint: str, deployed: Message) -> None:
        """Follow a deployed model, which is up now, if it may go to zero."""
        if not is_scaled(deployed):
            return
        spec = deployed.dedicated_resources.scale_to_zero_spec
        stays, idle = (
            getattr(spec, name).ToTimedelta() if spec.HasField(name) else timedelta(seconds=DEFAULT) for name in PERIODS
        )
        now = self._context.clock.now()
        self._followed[endpoint, deployed.id] = _Followed(stays, idle, now, now)
        self._watch.look_again()

    def forget(self, endpoint: str, deployed_model_id: str) -> None:
        """Follow a model no more: it is undeployed."""
        self._followed.pop((endpoint, deployed_model_id), None)

    def meet(self, endpoint: str, deployed_model_id: str, server: ModelServer) -> None:
        """Note that a model is asked; ApiError for one that is at zero, which is started."""
        one = self._followed.get((endpoint, deployed_model_id))
        if one is None:
            return
        if one.zero is None:
            one.asked = self._context.clock.now()
            return
        if one.starting is None:
            one.starting = self._do(self._start(one, server))
        raise ApiError(Code.RESOURCE_EXHAUSTED, NOT_READY)

    async def close(self) -> None:
        """Follow nothing more."""
        await self._watch.close()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _look(self) -> None:
        now = self._context.clock.now()
        for key, one in list(self._followed.items()):
            if one.zero is None and one.due <= now:
                one.zero = one.due
                server = self._context.model_servers.find(*key)
                if server is not None:
                    self._do(server.rest())
            if one.zero is not None and one.starting is None and one.due <= now:
                self.forget(*key)
                self._undeploy(*key)

    def _pause(self) -> float | None:
        now = self._context.clock.now()
        moments = [one.due for one in self._followed.values() if one.starting is None]
        return max(0.0, (min(moments) - now).total_seconds()) if moments else None

    async def _start(self, one: _Followed, server: ModelServer) -> None:
        try:
            await server.start()
        except ApiError as error:
            # It stays at zero; the next request starts it again.
            LOG.warning("a model cannot be scaled up from zero: %s", error.message)
        else:
            one.up = one.asked = self._context.clock.now()
            one.zero = None
        finally:
            one.starting = None
            self._watch.look_again()

    def _do(self, work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task


def is_scaled(deployed: Message) -> bool:
    """Say whether a deployed model may go to zero."""
    resources = deployed.dedicated_resources
    return bool(
        deployed.WhichOneof("prediction_resources") == "dedicated_resources" and not resources.min_replica_count
    )


def check(endpoint: Message, resources: Message, *, is_beta: bool) -> None:
    """Refuse what cannot be scaled to zero, as Google documents it."""
    where = "dedicated_resources"
    if resources.min_replica_count:
        for name in ("initial_replica_count", "scale_to_zero_spec"):
            if any(field.name == name for field, _ in resources.ListFields()):
                raise invalid(f"{where}.{name} can be set only with a min_replica_count of 0.")
        return
    if not is_beta:
        raise invalid(f"{where}.min_replica_count must be at least 1; in v1beta1 it may be 0, to scale to zero.")
    spec = resources.scale_to_zero_spec
    for name in PERIODS:
        if spec.HasField(name) and not SHORTEST <= getattr(spec, name).ToTimedelta().total_seconds() <= LONGEST:
            raise invalid(f"{where}.scale_to_zero_spec.{name} must be from {SHORTEST} to {LONGEST} seconds.")
    if not 0 <= resources.initial_replica_count <= resources.max_replica_count:
        raise invalid(f"{where}.initial_replica_count must be from 1 to max_replica_count.")
    reached = endpoint.private_service_connect_config.enable_private_service_connect
    if not (
        endpoint.dedicated_endpoint_enabled or endpoint.network or endpoint.enable_private_service_connect or reached
    ):
        raise precondition(
            f"Scale to zero cannot be enabled on a shared public endpoint: `{endpoint.name}` needs"
            " dedicated_endpoint_enabled, which is set when it is created."
        )


def check_room(endpoint: Message, deployed: Message) -> None:
    """Refuse a second model next to one that may go to zero."""
    if endpoint.deployed_models and any(is_scaled(one) for one in (deployed, *endpoint.deployed_models)):
        raise precondition(
            f"Scale to zero is only compatible with one model per endpoint, and `{endpoint.name}` has"
            f" {endpoint.deployed_models[0].id}."
        )
