"""ModelService, evaluations: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models.evaluations.

They are imported: Vertex AI's own are made by its pipelines, which are not emulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, not_found
from edge_tasks.emulator.services.names import check_display_name, new_id
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.models import Models

KIND, SLICE = "ModelEvaluation", "ModelEvaluationSlice"


class ModelEvaluations:
    """The evaluations of a version of a model, and their slices; they go with it."""

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
        return self._get(request.name)

    async def list_model_evaluations(self, request: Message) -> Message:
        """Return the evaluations of a version, newest first."""
        rows = self._context.database.children(KIND, self._key(request.parent))
        evaluations, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new(
            "ListModelEvaluationsResponse", model_evaluations=evaluations, next_page_token=token
        )

    async def batch_import_model_evaluation_slices(self, request: Message) -> Message:
        """Store what an evaluation says of parts of the data; return the names."""
        evaluation = self._get(request.parent)
        if not request.model_evaluation_slices:
            raise invalid("model_evaluation_slices is required.")
        names = []
        with self._context.database.transaction():
            for part in request.model_evaluation_slices:
                part.name = f"{evaluation.name}/slices/{new_id()}"
                part.create_time.GetCurrentTime()
                self._context.database.insert(SLICE, part.name, evaluation.name, part)
                names.append(part.name)
        return self._context.surface.new(
            "BatchImportModelEvaluationSlicesResponse", imported_model_evaluation_slices=names
        )

    async def get_model_evaluation_slice(self, request: Message) -> Message:
        """Return a slice of an evaluation."""
        parent, _, slice_id = request.name.rpartition("/slices/")
        row = self._context.database.find(SLICE, f"{self._get(parent).name}/slices/{slice_id}")
        if row is None:
            raise not_found(SLICE, request.name)
        return row.message

    async def list_model_evaluation_slices(self, request: Message) -> Message:
        """Return the slices of an evaluation, newest first."""
        rows = self._context.database.children(SLICE, self._get(request.parent).name)
        slices, token = page(rows, request, self._context.surface.new(SLICE).DESCRIPTOR)
        return self._context.surface.new(
            "ListModelEvaluationSlicesResponse", model_evaluation_slices=slices, next_page_token=token
        )

    def _get(self, name: str) -> Message:
        parent, _, evaluation_id = name.rpartition("/evaluations/")
        row = self._context.database.find(KIND, f"{self._key(parent)}/evaluations/{evaluation_id}")
        if row is None:
            raise not_found(KIND, name)
        return row.message

    def _key(self, model: str) -> str:
        version = self._models.version(model).message
        return f"{version.name}@{version.version_id}"
