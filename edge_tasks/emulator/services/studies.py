"""VizierService: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.studies.

Studies whose trials are run by others: the search that tunes hyperparameters here says what to try next, and is told
what came of it. Trials are never stopped early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import ApiError, Code, invalid, not_found, precondition, unimplemented
from edge_tasks.emulator.services.names import check_display_name, check_parent, new_id
from edge_tasks.emulator.services.tuning_jobs import NOT_EMULATED, check_metrics, goals_of, search_of, write_point
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.tuning.search import Attempt, Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.tuning.reports import Goal
    from edge_tasks.emulator.tuning.space import Point

STUDY, TRIAL = "Study", "Trial"
MOST_SUGGESTIONS = 1000


class Studies:
    """Studies and their trials."""

    service = "google.cloud.aiplatform.v1.VizierService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations

    async def create_study(self, request: Message) -> Message:
        """Store a study."""
        check_parent(request.parent)
        study = request.study
        check_display_name(study)
        check_metrics(study.study_spec.metrics)
        for field in NOT_EMULATED:
            if study.study_spec.HasField(field):
                raise unimplemented(f"{self.service}.CreateStudy with study_spec.{field} is not implemented here.")
        # Refuses what the algorithm cannot search.
        search_of(study.study_spec)
        if self._named(request.parent, study.display_name) is not None:
            raise ApiError(Code.ALREADY_EXISTS, f"A study with the display name {study.display_name!r} exists already.")
        study.name = f"{request.parent}/studies/{new_id()}"
        study.state = self._context.surface.enum_value("Study.State", "ACTIVE")
        study.create_time.GetCurrentTime()
        self._context.database.insert(STUDY, study.name, request.parent, study)
        return study

    async def get_study(self, request: Message) -> Message:
        """Return a study."""
        return self._context.database.get(STUDY, request.name)

    async def list_studies(self, request: Message) -> Message:
        """Return the studies of a location, newest first."""
        check_parent(request.parent)
        rows = self._context.database.children(STUDY, request.parent)
        studies, token = page(rows, request, self._context.surface.new(STUDY).DESCRIPTOR)
        return self._context.surface.new("ListStudiesResponse", studies=studies, next_page_token=token)

    async def lookup_study(self, request: Message) -> Message:
        """Return the study with a display name."""
        found = self._named(request.parent, request.display_name)
        if found is None:
            raise not_found("Study", request.display_name)
        return found

    async def delete_study(self, request: Message) -> Message:
        """Forget a study and its trials."""
        self._context.database.get(STUDY, request.name)
        with self._context.database.transaction():
            for row in self._context.database.children(TRIAL, request.name):
                self._context.database.delete(row.message.name)
            self._context.database.delete(request.name)
            self._context.database.end_sequence(request.name)
        return self._context.surface.new("google.protobuf.Empty")

    async def suggest_trials(self, request: Message) -> Message:
        """Return a client's open trials, and new ones up to the count that it asks for."""
        study = self._context.database.get(STUDY, request.parent)
        if not request.client_id:
            raise invalid("client_id is required.")
        if not 0 < request.suggestion_count <= MOST_SUGGESTIONS:
            raise invalid(f"suggestion_count must be from 1 to {MOST_SUGGESTIONS}.")

        async def work() -> Message:
            active = self._state("ACTIVE")
            trials = [
                trial for trial in self._trials(study) if trial.client_id == request.client_id and trial.state == active
            ][: request.suggestion_count]
            while len(trials) < request.suggestion_count:
                point = self._suggestion(study)
                if point is None:
                    break
                trial = self._context.surface.new(TRIAL, client_id=request.client_id, state=active)
                write_point(trial, point)
                trials.append(self._add(study, trial))
            response = self._context.surface.new("SuggestTrialsResponse", trials=trials, study_state=study.state)
            response.start_time.GetCurrentTime()
            response.end_time.GetCurrentTime()
            return response

        metadata = self._context.surface.new("SuggestTrialsMetadata", client_id=request.client_id)
        return await self._operations.start("VizierService.SuggestTrials", study.name, work(), metadata)

    async def create_trial(self, request: Message) -> Message:
        """Store a trial that a client has thought of."""
        study = self._context.database.get(STUDY, request.parent)
        trial = request.trial
        if not trial.parameters:
            raise invalid("trial.parameters is required.")
        if trial.HasField("final_measurement"):
            trial.state = self._state("SUCCEEDED")
            trial.end_time.GetCurrentTime()
        else:
            trial.state = self._state("REQUESTED")
        return self._add(study, trial)

    async def get_trial(self, request: Message) -> Message:
        """Return a trial."""
        return self._context.database.get(TRIAL, request.name)

    async def list_trials(self, request: Message) -> Message:
        """Return the trials of a study, newest first."""
        self._context.database.get(STUDY, request.parent)
        rows = self._context.database.children(TRIAL, request.parent)
        trials, token = page(rows, request, self._context.surface.new(TRIAL).DESCRIPTOR)
        return self._context.surface.new("ListTrialsResponse", trials=trials, next_page_token=token)

    async def add_trial_measurement(self, request: Message) -> Message:
        """Note what a trial has measured so far."""
        trial = self._open(request.trial_name)
        trial.measurements.add().CopyFrom(request.measurement)
        self._context.database.update(trial.name, trial)
        return trial

    async def complete_trial(self, request: Message) -> Message:
        """End a trial: with its final measurement, else its last one, or as infeasible."""
        trial = self._open(request.name)
        study = self._context.database.get(STUDY, request.name.rpartition("/trials/")[0])
        if request.trial_infeasible:
            trial.state, trial.infeasible_reason = self._state("INFEASIBLE"), request.infeasible_reason
        else:
            if not request.HasField("final_measurement") and not trial.measurements:
                raise precondition(
                    f"{trial.name} has no measurement: give a final_measurement, or say it is infeasible."
                )
            final = request.final_measurement if request.HasField("final_measurement") else trial.measurements[-1]
            given = {metric.metric_id for metric in final.metrics}
            missing = [goal.metric for goal in goals_of(study.study_spec) if goal.metric not in given]
            if missing:
                raise invalid(f"The final measurement lacks the metric {missing[0]!r} of the study.")
            trial.final_measurement.CopyFrom(final)
            trial.state = self._state("SUCCEEDED")
        trial.end_time.GetCurrentTime()
        self._context.database.update(trial.name, trial)
        return trial

    async def stop_trial(self, request: Message) -> Message:
        """Mark a trial as one that is to be stopped; its client ends it."""
        trial = self._open(request.name)
        trial.state = self._state("STOPPING")
        self._context.database.update(trial.name, trial)
        return trial

    async def check_trial_early_stopping_state(self, request: Message) -> Message:
        """Say that a trial continues, but for one that is to be stopped."""
        trial = self._context.database.get(TRIAL, request.trial_name)

        async def work() -> Message:
            stop = trial.state == self._state("STOPPING")
            return self._context.surface.new("CheckTrialEarlyStoppingStateResponse", should_stop=stop)

        return await self._operations.start("VizierService.CheckTrialEarlyStoppingState", trial.name, work())

    async def delete_trial(self, request: Message) -> Message:
        """Forget a trial."""
        self._context.database.get(TRIAL, request.name)
        self._context.database.delete(request.name)
        return self._context.surface.new("google.protobuf.Empty")

    async def list_optimal_trials(self, request: Message) -> Message:
        """Return the trials that no other one beats: by all metrics, if there are several."""
        study = self._context.database.get(STUDY, request.parent)
        goals = goals_of(study.study_spec)
        ended = [(trial, gains) for trial in self._trials(study) if (gains := self._gains(trial, goals)) is not None]
        best = [trial for trial, gains in ended if not any(_beats(other, gains) for _, other in ended)]
        return self._context.surface.new("ListOptimalTrialsResponse", optimal_trials=best)

    def _suggestion(self, study: Message) -> Point | None:
        goals = goals_of(study.study_spec)
        trials = self._trials(study)
        search = search_of(study.study_spec)
        if isinstance(search, Grid):
            # It continues where it was: each trial took one of its points.
            for _ in trials:
                search.suggest([])
        return search.suggest([Attempt(_point(trial), self._gains(trial, goals)) for trial in trials])

    def _gains(self, trial: Message, goals: Sequence[Goal]) -> tuple[float, ...] | None:
        """Return what a trial that has succeeded is worth, by metric."""
        if trial.state != self._state("SUCCEEDED"):
            return None
        values = {metric.metric_id: metric.value for metric in trial.final_measurement.metrics}
        if any(goal.metric not in values for goal in goals):
            return None
        return tuple(goal.gain(values[goal.metric]) for goal in goals)

    def _add(self, study: Message, trial: Message) -> Message:
        trial.id = str(self._context.database.next_in(study.name))
        trial.name = f"{study.name}/trials/{trial.id}"
        trial.start_time.GetCurrentTime()
        self._context.database.insert(TRIAL, trial.name, study.name, trial)
        return trial

    def _trials(self, study: Message) -> list[Message]:
        """Return the trials, oldest first."""
        rows = self._context.database.children(TRIAL, study.name)
        return [row.message for row in sorted(rows, key=lambda row: row.seq)]

    def _open(self, name: str) -> Message:
        trial = self._context.database.get(TRIAL, name)
        if trial.state in {self._state("SUCCEEDED"), self._state("INFEASIBLE")}:
            raise precondition(f"{name} has ended already.")
        return trial

    def _named(self, parent: str, display_name: str) -> Message | None:
        rows = self._context.database.children(STUDY, parent)
        return next((row.message for row in rows if row.message.display_name == display_name), None)

    def _state(self, name: str) -> int:
        return self._context.surface.enum_value("Trial.State", name)


def _point(trial: Message) -> Point:
    return {
        parameter.parameter_id: getattr(parameter.value, parameter.value.WhichOneof("kind") or "number_value")
        for parameter in trial.parameters
    }


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
