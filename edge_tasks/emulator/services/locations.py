"""google.cloud.location.Locations: any well-formed location exists here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.services.names import check_parent, project_and_location

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context


class Locations:
    """Answers GetLocation."""

    service = "google.cloud.location.Locations"

    def __init__(self, context: Context) -> None:
        self._context = context

    async def get_location(self, request: Message) -> Message:
        """Return a location."""
        check_parent(request.name)
        _, location = project_and_location(request.name)
        return self._context.surface.new("google.cloud.location.Location", name=request.name, location_id=location)
