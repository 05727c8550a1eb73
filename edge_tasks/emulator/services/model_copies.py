"""ModelService, copies of models: in other locations, and as files in Cloud Storage.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/copy
"""

from __future__ import annotations

import asyncio
import shutil
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, precondition, unimplemented
from edge_tasks.emulator.runtime.bucket import dated_folder, parse_uri
from edge_tasks.emulator.services.buckets import check_bucket
from edge_tasks.emulator.services.names import check_parent, project_and_location

if TYPE_CHECKING:
    from pathlib import Path

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.models import Models
    from edge_tasks.emulator.services.operations import Operations


class ModelCopies:
    """Copies and exports, both of one version with its artifacts."""

    service = "google.cloud.aiplatform.v1.ModelService"

    def __init__(self, context: Context, operations: Operations, models: Models) -> None:
        self._context = context
        self._operations = operations
        self._models = models

    async def copy_model(self, request: Message) -> Message:
        """Store a copy of a version in any location of its project: as a new model, or as a version of one."""
        check_parent(request.parent)
        source = self._models.version(request.source_model)
        if project_and_location(request.source_model)[0] != project_and_location(request.parent)[0]:
            raise invalid(f"The source_model {request.source_model!r} is not in the project of {request.parent}.")
        model = source.message
        model.name = self._models.name_for_upload(request)
        del model.version_aliases[:]
        model.model_source_info.copy = True
        if request.HasField("encryption_spec"):
            model.encryption_spec.CopyFrom(request.encryption_spec)

        async def fill(folder: Path) -> None:
            await asyncio.to_thread(_copy, self._context.data / self._models.artifacts(source), folder)

        async def work() -> Message:
            await self._models.add(model, fill, is_new=not request.parent_model)
            return self._context.surface.new("CopyModelResponse", model=model.name, model_version_id=model.version_id)

        return await self._operations.start("ModelService.CopyModel", model.name, work())

    async def export_model(self, request: Message) -> Message:
        """Write the artifacts of a version to a new folder in Cloud Storage."""
        row = self._models.version(request.name)
        config = request.output_config
        formats = [supported.id for supported in row.message.supported_export_formats]
        if not formats:
            raise precondition(f"Model `{request.name}` has no artifacts that can be exported.")
        if config.export_format_id not in formats:
            raise invalid(
                f"Invalid output_config.export_format_id {config.export_format_id!r}; there is: {formats[0]}."
            )
        if config.HasField("image_destination"):
            raise unimplemented("ModelService.ExportModel with an image_destination is not implemented here.")
        target = parse_uri(config.artifact_destination.output_uri_prefix, "artifact_destination.output_uri_prefix")
        target = dated_folder(target, f"model-export-{row.message.display_name}", datetime.now(timezone.utc))
        uri = f"gs://{target.bucket}/{target.path}"
        await check_bucket(self._context.storage, uri, "artifact_destination.output_uri_prefix", row.message.name)
        folder = self._context.data / self._models.artifacts(row)

        async def work() -> Message:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                relative = path.relative_to(folder).as_posix()
                await asyncio.to_thread(self._context.storage.upload, path, target.bucket, f"{target.path}/{relative}")
            return self._context.surface.new("ExportModelResponse")

        metadata = self._context.surface.new("ExportModelOperationMetadata")
        metadata.output_info.artifact_output_uri = uri
        return await self._operations.start("ModelService.ExportModel", row.message.name, work(), metadata)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except OSError:
        raise precondition("The source_model was deleted while it was copied.") from None
