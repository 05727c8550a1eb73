"""google.cloud.location.Locations: any well-formed location exists here; those of Vertex AI are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import unimplemented
from edge_tasks.emulator.services.names import check_parent, project_and_location

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context

SERVICE = "google.cloud.location.Locations"
# https://cloud.google.com/vertex-ai/docs/general/locations
REGIONS = (
    *("africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
    *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2", "australia-southeast1"),
    *("australia-southeast2", "europe-central2", "europe-north1", "europe-southwest1", "europe-west1"),
    *("europe-west12", "europe-west2", "europe-west3", "europe-west4", "europe-west6", "europe-west8"),
    *("europe-west9", "me-central1", "me-central2", "me-west1", "northamerica-northeast1"),
    *("northamerica-northeast2", "southamerica-east1", "southamerica-west1", "us-central1", "us-east1"),
    *("us-east4", "us-east5", "us-south1", "us-west1", "us-west2", "us-west3", "us-west4"),
)


class Locations:
    """Answers GetLocation and ListLocations."""

    service = SERVICE

    def __init__(self, context: Context) -> None:
        self._context = context

    async def get_location(self, request: Message) -> Message:
        """Return a location."""
        check_parent(request.name)
        return self._location(request.name)

    async def list_locations(self, request: Message) -> Message:
        """Return all regions of Vertex AI: one page, without a filter."""
        names = [f"{request.name}/locations/{region}" for region in REGIONS]
        check_parent(names[0])
        if request.filter or request.page_token:
            raise unimplemented(
                f"{SERVICE}.ListLocations with a filter or a page_token is not implemented by this emulator."
            )
        return self._context.surface.new(
            "google.cloud.location.ListLocationsResponse", locations=[self._location(name) for name in names]
        )

    def _location(self, name: str) -> Message:
        _, location = project_and_location(name)
        return self._context.surface.new("google.cloud.location.Location", name=name, location_id=location)
