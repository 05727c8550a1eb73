"""Vizier, by Google's client: what to try next, and what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.harness import PARENT, Emulator


@pytest.fixture
def vizier(emulator: Emulator) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1

    options = {"api_endpoint": emulator.url}
    return aiplatform_v1.VizierServiceClient(
        client_options=options, transport="rest", credentials=AnonymousCredentials()
    )


def study(vizier: Any, name: str, **spec: Any) -> Any:
    parameters = [{"parameter_id": "x", "double_value_spec": {"min_value": -1, "max_value": 1}}]
    given = {"metrics": [{"metric_id": "loss", "goal": "MINIMIZE"}], "parameters": parameters, **spec}
    return vizier.create_study(parent=PARENT, study={"display_name": name, "study_spec": given})


def suggested(vizier: Any, name: str, count: int = 1, client: str = "a") -> Any:
    request = {"parent": name, "suggestion_count": count, "client_id": client}
    return vizier.suggest_trials(request).result().trials


def test_a_study_finds_the_minimum_of_what_its_client_measures(vizier: Any) -> None:
    made = study(vizier, "minimum")
    for _ in range(25):
        (trial,) = suggested(vizier, made.name)
        loss = (trial.parameters[0].value - 0.3) ** 2
        measurement = {"metrics": [{"metric_id": "loss", "value": loss}]}
        vizier.add_trial_measurement({"trial_name": trial.name, "measurement": measurement})
        ended = vizier.complete_trial({"name": trial.name})
        assert ended.state.name == "SUCCEEDED"
        assert ended.final_measurement.metrics[0].value == pytest.approx(loss)
    (best,) = vizier.list_optimal_trials({"parent": made.name}).optimal_trials
    assert best.parameters[0].value == pytest.approx(0.3, abs=0.1)
    assert len(list(vizier.list_trials(parent=made.name))) == 25


def test_a_client_gets_its_open_trials_again_and_others_get_their_own(vizier: Any) -> None:
    made = study(vizier, "clients")
    first = suggested(vizier, made.name, 2)
    assert [trial.name for trial in suggested(vizier, made.name, 2)] == [trial.name for trial in first]
    assert not {trial.name for trial in suggested(vizier, made.name, 1, "b")} & {trial.name for trial in first}


def test_a_grid_is_tried_to_its_end(vizier: Any) -> None:
    parameters = [{"parameter_id": "x", "categorical_value_spec": {"values": ["a", "b", "c"]}}]
    made = study(vizier, "grid", algorithm="GRID_SEARCH", parameters=parameters)
    found = [trial.parameters[0].value for trial in suggested(vizier, made.name, 2)]
    found += [trial.parameters[0].value for trial in suggested(vizier, made.name, 5, "b")]
    assert found == ["a", "b", "c"]


def test_a_study_is_found_by_its_name_and_exists_once(vizier: Any) -> None:
    from google.api_core import exceptions

    made = study(vizier, "once")
    with pytest.raises(exceptions.Conflict, match="exists already"):
        study(vizier, "once")
    assert vizier.lookup_study({"parent": PARENT, "display_name": "once"}).name == made.name
    (trial,) = suggested(vizier, made.name)
    with pytest.raises(exceptions.BadRequest, match="no measurement"):
        vizier.complete_trial({"name": trial.name})
    assert not vizier.check_trial_early_stopping_state({"trial_name": trial.name}).result().should_stop
    vizier.stop_trial({"name": trial.name})
    assert vizier.check_trial_early_stopping_state({"trial_name": trial.name}).result().should_stop
    ended = vizier.complete_trial({"name": trial.name, "trial_infeasible": True, "infeasible_reason": "too hot"})
    assert (ended.state.name, ended.infeasible_reason) == ("INFEASIBLE", "too hot")
    vizier.delete_study(name=made.name)
    with pytest.raises(exceptions.NotFound):
        vizier.get_trial(name=trial.name)


RULES = ("decay_curve_stopping_spec", "median_automated_stopping_spec")


@pytest.mark.parametrize("rule", RULES)
def test_by_the_rule_of_its_study_a_bad_trial_is_stopped_and_a_good_one_is_not(vizier: Any, rule: str) -> None:
    made = study(vizier, rule, algorithm="RANDOM_SEARCH", **{rule: {}})

    def measured(start: float, steps: int) -> Any:
        (trial,) = suggested(vizier, made.name)
        for step in range(1, steps + 1):
            measurement = {"step_count": step, "metrics": [{"metric_id": "loss", "value": start - step / 100}]}
            vizier.add_trial_measurement({"trial_name": trial.name, "measurement": measurement})
        return trial

    for number in range(6):
        vizier.complete_trial({"name": measured(1 + number / 10, 5).name})
    for start, is_stopped in ((9.0, True), (0.5, False)):
        trial = measured(start, 2)
        checked = vizier.check_trial_early_stopping_state({"trial_name": trial.name}).result()
        assert checked.should_stop is is_stopped
        assert vizier.get_trial(name=trial.name).state.name == ("STOPPING" if is_stopped else "ACTIVE")
        vizier.complete_trial({"name": trial.name})


def test_a_rule_without_measurements_stops_nothing(vizier: Any) -> None:
    made = study(vizier, "nothing measured", decay_curve_stopping_spec={"use_elapsed_duration": True})
    (trial,) = suggested(vizier, made.name)
    assert not vizier.check_trial_early_stopping_state({"trial_name": trial.name}).result().should_stop


def test_the_convex_rule_is_refused_by_its_name(vizier: Any) -> None:
    from google.api_core import exceptions

    with pytest.raises(exceptions.MethodNotImplemented, match="convex_automated_stopping_spec"):
        study(vizier, "convex", convex_automated_stopping_spec={})
