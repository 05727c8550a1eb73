"""ModelService, evaluations: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models.evaluations.

They are imported: Vertex AI's own are made by its pipelines, which are not emulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import not_found
from edge_tasks.emulator.services.names import check_display_name, new_id
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.models import Models

KIND = "ModelEvaluation"


class ModelEvaluations:
    """The evaluations of a version of a model; they go with it."""

    service = "google.cloud.aiplatform.v1.ModelService"

    def __init__(self, context: Context, models: Models) -> None:
        self._context = context
        self._models = models

    async def import_model_evaluation(self, request: Message) -> Message:
        """Store an evaluation."""
        version = self._models.version(request.parent).message
        evaluation = request.model_evaluation
        check_display_name(evaluation, required=False)
        evaluation.name = f"{version.name}@{version.version_id}/evaluations/{new_id()}"
        evaluation.create_time.GetCurrentTime()
        self._context.database.insert(KIND, evaluation.name, f"{version.name}@{version.version_id}", evaluation)
        return evaluation

    async def get_model_evaluation(self, request: Message) -> Message:
        """Return an evaluation; its model may be named by id or alias."""
        parent, _, evaluation_id = request.name.rpartition("/evaluations/")
        row = self._context.database.find(KIND, f"{self._key(parent)}/evaluations/{evaluation_id}")
        if row is None:
            raise not_found(KIND, request.name)
        return row.message

    async def list_model_evaluations(self, request: Message) -> Message:
        """Return the evaluations of a version, newest first."""
        rows = self._context.database.children(KIND, self._key(request.parent))
        evaluations, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new(
            "ListModelEvaluationsResponse", model_evaluations=evaluations, next_page_token=token
        )

    def _key(self, model: str) -> str:
        version = self._models.version(model).message
        return f"{version.name}@{version.version_id}"
