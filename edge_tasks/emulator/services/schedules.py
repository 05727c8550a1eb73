"""ScheduleService: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules.

A schedule starts pipeline jobs, or in v1beta1 jobs of a model monitor, at the moments of its cron expression, by the
emulator's clock: when the clock is moved, what became due is started before the move is answered. What was due while
the emulator did not run is left out, as it is in a pause. Schedules of notebooks are not implemented.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_tasks.emulator.clock import Watch
from edge_tasks.emulator.errors import ApiError, invalid, precondition, unimplemented
from edge_tasks.emulator.schedules.cron import Cron
from edge_tasks.emulator.services.names import check_display_name, check_numeric_name, check_parent, new_id
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.services.scheduled_runs import Runs

KIND = "Schedule"
OUTPUT_ONLY = (
    *("name", "started_run_count", "state", "create_time", "update_time", "next_run_time", "last_pause_time"),
    *("last_resume_time", "catch_up", "last_scheduled_run_response"),
)
MUTABLE = frozenset(
    {"display_name", "cron", "start_time", "end_time", "max_run_count", "max_concurrent_run_count", "allow_queueing"}
    | {"max_concurrent_active_run_count", "create_pipeline_job_request", "create_model_monitoring_job_request"}
)
# Of these an update must not take away what there is.
KEPT = ("display_name", "cron", "start_time", "max_concurrent_run_count")
ORDERS = frozenset({"create_time", "start_time", "end_time", "next_run_time", "update_time", "display_name"})
# So many moments of one schedule are started when many have passed at once: the newest.
MOST_AT_ONCE = 100
# Seconds between two looks while a run waits for another's end.
QUEUE_SLEEP = 0.5
# The response of a run that was started, as Google's, and of one that was not.
STARTED, SKIPPED = "OK", "The run was skipped: max_concurrent_active_run_count is reached."


class Schedules:
    """Schedules, and the jobs that they start: `runs` says how, by the request that a schedule holds."""

    service = "google.cloud.aiplatform.v1.ScheduleService"

    def __init__(self, context: Context, operations: Operations, runs: Mapping[str, Runs]) -> None:
        self._context = context
        self._operations = operations
        self._runs = runs
        self._watch = Watch(context.clock, self.start_due, self._pause)

    async def create_schedule(self, request: Message) -> Message:
        """Store a schedule, which is active at once."""
        check_parent(request.parent)
        schedule = request.schedule
        for field in OUTPUT_ONLY:
            schedule.ClearField(field)
        now = self._context.clock.now()
        if not schedule.HasField("start_time"):
            schedule.start_time.FromDatetime(now)
        self._check(schedule, request.parent)
        schedule.name = f"{request.parent}/schedules/{new_id()}"
        schedule.state = self._state("ACTIVE")
        for moment in (schedule.create_time, schedule.update_time):
            moment.FromDatetime(now)
        self._plan(schedule, now)
        self._context.database.insert(KIND, schedule.name, request.parent, schedule)
        self._watch.look_again()
        return schedule

    async def get_schedule(self, request: Message) -> Message:
        """Return a schedule."""
        return self._get(request.name)

    async def list_schedules(self, request: Message) -> Message:
        """Return the schedules of a location, newest first."""
        check_parent(request.parent)
        for term in request.order_by.split(","):
            if term.split() and term.split()[0] not in ORDERS:
                raise invalid(f"Invalid order_by {request.order_by!r}: order by one of {', '.join(sorted(ORDERS))}.")
        rows = self._context.database.children(KIND, request.parent)
        schedules, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new("ListSchedulesResponse", schedules=schedules, next_page_token=token)

    async def update_schedule(self, request: Message) -> Message:
        """Change a schedule; its next run is at the first moment from now on. A completed one may become active."""
        given = request.schedule
        schedule = self._get(given.name)
        before = type(schedule).FromString(schedule.SerializeToString())
        apply_mask(schedule, given, request.update_mask.paths, MUTABLE)
        for field in KEPT:
            if _is_set(before, field) and not _is_set(schedule, field):
                raise invalid(f"{field} cannot be unset.")
        if schedule.WhichOneof("request") != before.WhichOneof("request"):
            raise invalid(f"{before.WhichOneof('request')} cannot be unset, nor become a request of another kind.")
        self._check(schedule, schedule.name.partition("/schedules/")[0])
        now = self._context.clock.now()
        if schedule.state == self._state("COMPLETED"):
            schedule.state = self._state("ACTIVE")
        if schedule.state == self._state("ACTIVE"):
            self._plan(schedule, now)
        self._save(schedule)
        self._watch.look_again()
        return schedule

    async def pause_schedule(self, request: Message) -> Message:
        """Start no runs until the schedule is resumed."""
        schedule = self._get(request.name)
        if schedule.state != self._state("ACTIVE"):
            raise precondition(f"{KIND} {schedule.name} is {self._state_of(schedule)}, so it cannot be paused.")
        schedule.state = self._state("PAUSED")
        schedule.last_pause_time.FromDatetime(self._context.clock.now())
        self._save(schedule)
        return self._context.surface.new("google.protobuf.Empty")

    async def resume_schedule(self, request: Message) -> Message:
        """Start runs again: with `catch_up` those of the pause first, else from the next moment on."""
        schedule = self._get(request.name)
        if schedule.state != self._state("PAUSED"):
            raise precondition(f"{KIND} {schedule.name} is {self._state_of(schedule)}, so it cannot be resumed.")
        now = self._context.clock.now()
        schedule.state = self._state("ACTIVE")
        schedule.catch_up = request.catch_up
        schedule.last_resume_time.FromDatetime(now)
        if not request.catch_up:
            self._plan(schedule, now)
        self._save(schedule)
        # Before the answer: who asks for the runs next finds those that were missed.
        self.start_due()
        self._watch.look_again()
        return self._context.surface.new("google.protobuf.Empty")

    async def delete_schedule(self, request: Message) -> Message:
        """Forget a schedule; the runs that it has started continue."""
        schedule = self._get(request.name)

        async def work() -> Message:
            self._context.database.delete(schedule.name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("ScheduleService.DeleteSchedule", schedule.name, work())

    def recover(self) -> None:
        """Continue the schedules of an earlier run of the emulator, from the next moment on."""
        now = self._context.clock.now()
        for row in self._context.database.every(KIND):
            if row.message.state == self._state("ACTIVE"):
                self._plan(row.message, now)
                self._context.database.update(row.message.name, row.message)
                self._watch.look_again()

    async def close(self) -> None:
        """Start nothing more."""
        await self._watch.close()

    def start_due(self) -> None:
        """Start the runs whose moment has come."""
        for row in reversed(self._context.database.every(KIND)):
            if row.message.state == self._state("ACTIVE"):
                self._start_due_of(row.message)

    # What a schedule may be

    def _check(self, schedule: Message, parent: str) -> None:
        check_display_name(schedule)
        kind = schedule.WhichOneof("request")
        if kind is None:
            raise invalid(f"A schedule needs a request: one of {', '.join(self._runs)}.")
        if kind not in self._runs:
            raise unimplemented(f"{self.service}.CreateSchedule with {kind} is not implemented by this emulator.")
        self._runs[kind].check(parent, schedule)
        if not schedule.cron:
            raise invalid("cron is required.")
        Cron.parse(schedule.cron)
        if schedule.max_concurrent_run_count < 1:
            raise invalid("max_concurrent_run_count is required, and must be positive.")
        for field in ("max_run_count", "max_concurrent_active_run_count"):
            if getattr(schedule, field) < 0:
                raise invalid(f"{field} must be positive.")
        if schedule.HasField("end_time") and _time(schedule.end_time) <= _time(schedule.start_time):
            raise invalid("end_time must be after start_time.")

    # When it runs

    def _plan(self, schedule: Message, now: datetime) -> None:
        """Set the next run to the first moment from now on, and not before the start; complete what has no more."""
        cron = Cron.parse(schedule.cron)
        start = _time(schedule.start_time)
        self._set_next(schedule, cron.first(start) if start >= now else cron.next(now))
        self._complete(schedule, now)

    def _set_next(self, schedule: Message, moment: datetime | None) -> None:
        schedule.ClearField("next_run_time")
        if moment is not None and not (schedule.HasField("end_time") and moment > _time(schedule.end_time)):
            schedule.next_run_time.FromDatetime(moment)

    def _complete(self, schedule: Message, now: datetime) -> bool:
        """Say whether a schedule has come to its end, and note that."""
        over = schedule.HasField("end_time") and not schedule.HasField("next_run_time")
        if (over and now >= _time(schedule.end_time)) or 0 < schedule.max_run_count <= schedule.started_run_count:
            schedule.state = self._state("COMPLETED")
            schedule.ClearField("next_run_time")
        return bool(schedule.state == self._state("COMPLETED"))

    def _start_due_of(self, schedule: Message) -> None:
        now = self._context.clock.now()
        if self._complete(schedule, now):
            self._save(schedule)
            return
        cron = Cron.parse(schedule.cron)
        due = _next_run(schedule)
        if due is not None and due <= now:
            due = max(due, cron.last(MOST_AT_ONCE, now))
        while due is not None and due <= now:
            full = self._is_full(schedule)
            if full and schedule.allow_queueing:
                return  # its next run stays in the past, where it waits
            # Both or neither: an emulator that is killed starts no run twice.
            with self._context.database.transaction():
                response = SKIPPED if full else self._start(schedule, due)
                schedule.started_run_count += response == STARTED
                schedule.last_scheduled_run_response.scheduled_run_time.FromDatetime(due)
                schedule.last_scheduled_run_response.run_response = response
                self._set_next(schedule, cron.next(due))
                self._complete(schedule, now)
                self._save(schedule)
            due = _next_run(schedule)

    def _start(self, schedule: Message, moment: datetime) -> str:
        """Start a run; return the response: `OK`, or the error."""
        try:
            self._runs_of(schedule).start(schedule, moment)
        except ApiError as error:
            return f"{error.code.name}: {error.message}"
        return STARTED

    def _is_full(self, schedule: Message) -> bool:
        """Say whether as many runs of the schedule are active as may be."""
        most = int(schedule.max_concurrent_active_run_count)
        return bool(most) and self._runs_of(schedule).active(schedule) >= most

    def _runs_of(self, schedule: Message) -> Runs:
        return self._runs[schedule.WhichOneof("request")]

    def _pause(self) -> float | None:
        """Return the seconds until something is due; None when nothing is."""
        now = self._context.clock.now()
        moments = [
            _time(moment)
            for row in self._context.database.every(KIND)
            if row.message.state == self._state("ACTIVE")
            for moment in (row.message.next_run_time, row.message.end_time)
            if moment.seconds
        ]
        seconds = min(((moment - now).total_seconds() for moment in moments), default=None)
        return seconds if seconds is None or seconds > 0 else QUEUE_SLEEP

    def _get(self, name: str) -> Message:
        check_numeric_name(KIND, name)
        return self._context.database.get(KIND, name)

    def _save(self, schedule: Message) -> None:
        schedule.update_time.FromDatetime(self._context.clock.now())
        self._context.database.update(schedule.name, schedule)

    def _state(self, name: str) -> int:
        return self._context.surface.enum_value("Schedule.State", name)

    @staticmethod
    def _state_of(schedule: Message) -> str:
        field = schedule.DESCRIPTOR.fields_by_name["state"]
        return str(field.enum_type.values_by_number[schedule.state].name)


def _is_set(message: Message, field: str) -> bool:
    return any(found.name == field for found, _ in message.ListFields())


def _next_run(schedule: Message) -> datetime | None:
    return _time(schedule.next_run_time) if schedule.HasField("next_run_time") else None


def _time(stamp: Message) -> datetime:
    moment: datetime = stamp.ToDatetime(timezone.utc)
    return moment
