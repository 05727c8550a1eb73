"""The invoke tasks: what `invoke --list` shows in a generated repository, and what `edge` runs.

Each module is one namespace (`model.deploy` is `deploy` in `model.py`) and thin: it reads flags, calls the work module
of the same subject, and prints. Nothing heavy is imported until a task runs.
"""

from __future__ import annotations

from invoke.collection import Collection

from edge_tasks.tasks import (
    ci,
    config,
    cost,
    dashboard,
    doctor,
    dvc,
    experiments,
    explain,
    infra,
    init,
    jobs,
    local,
    model,
    pipeline,
    service,
    state,
    teardown,
    template,
)

namespace = Collection()
namespace.add_task(init.init)
namespace.add_task(doctor.doctor)
namespace.add_task(explain.explain)
namespace.add_task(teardown.teardown)
namespace.add_task(dashboard.dashboard)
for _module in (ci, config, cost, dvc, experiments, infra, jobs, local, model, pipeline, service, state, template):
    namespace.add_collection(_module.collection)
# There is a task `dashboard`, too: `add_collection` would refuse it.
namespace.collections["dashboard"] = dashboard.collection
