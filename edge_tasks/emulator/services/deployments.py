"""Between endpoints and model servers: which server a deployed model needs, and where it is."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import precondition, unimplemented
from edge_tasks.emulator.runtime import docker, image_contents, images
from edge_tasks.emulator.runtime.job_environment import add_variables
from edge_tasks.emulator.services.names import project_and_location
from edge_tasks.emulator.services.scale_to_zero import ScaleToZero
from edge_tasks.emulator.serving.model_server import ModelServer
from edge_tasks.emulator.serving.plan import CustomContainer, ServerPlan

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.models import Models
    from edge_tasks.emulator.store.database import Row

# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelContainerSpec
DEFAULT_PORT = 8080
# What the image of a predictor is built from.
REQUIREMENTS = "requirements.txt"
LOGS = Path("servers", "logs")


class Deployments:
    """Model servers by endpoint and deployed model."""

    def __init__(self, context: Context, models: Models) -> None:
        self._context = context
        self._models = models
        self.zero = ScaleToZero(context)

    def recover(self) -> None:
        """Let what an earlier run has deployed go to zero when nobody asks, if it may."""
        for endpoint in self._context.database.every("Endpoint"):
            for deployed in endpoint.message.deployed_models:
                self.zero.follow(endpoint.message.name, deployed)

    async def close(self) -> None:
        """Let nothing go to zero any more."""
        await self.zero.close()

    async def check(self, version: Row) -> None:
        """Refuse a model that cannot be served here, before anything is started."""
        image = version.message.container_spec.image_uri
        if self._framework(version) is None:
            try:
                await self._context.engine.check()
            except docker.DockerError as error:
                raise unimplemented(
                    f"The serving image {image} cannot run here: it needs Docker, and {error}."
                ) from None

    def _framework(self, version: Row) -> images.Framework | None:
        """Return what the model was made with; None for a custom container."""
        image = version.message.container_spec.image_uri
        if not image:
            raise precondition("The model has no container_spec, so nothing says what serves it.")
        framework = images.framework_of(image)
        if framework is None:
            return None
        isolated = self._context.environments.isolated
        if not isolated and importlib.util.find_spec(framework.module) is None:
            raise precondition(
                f"Models of {framework.name} are served by the local Python environment, where {framework.module}"
                f" is not installed. Install it with: pip install {framework.package}"
            )
        folder = self._context.data / self._models.artifacts(version)
        if isolated and framework.name == "predictor" and not (folder / REQUIREMENTS).is_file():
            raise precondition(f"The artifacts of the model have no {REQUIREMENTS}, so no image can be built for them.")
        if framework.files and not any((folder / name).is_file() for name in framework.files):
            raise precondition(
                f"The artifacts of the model ({version.message.artifact_uri or 'none were given'}) hold none of the"
                f" files that {framework.name} images load: {', '.join(framework.files)}."
            )
        return framework

    def prepare(self) -> None:
        """Get ready in the background for the models that an earlier run has deployed."""
        versions = (
            self._models.version(f"{deployed.model}@{deployed.model_version_id}")
            for endpoint in self._context.database.every("Endpoint")
            for deployed in endpoint.message.deployed_models
        )
        self._context.model_servers.prepare({version.message.container_spec.image_uri for version in versions})

    async def start(self, endpoint: str, deployed: Message) -> None:
        """Start the server of a model that is being deployed; nothing is left of it when that fails."""
        server = self._context.model_servers.add(endpoint, deployed.id, self._plan(endpoint, deployed))
        try:
            await server.start()
        except BaseException:
            await self.stop(endpoint, deployed.id)
            raise

    def knows(self, endpoint: str, deployed_model_id: str) -> bool:
        """Whether there is a server for this id: also of a model that is still being deployed."""
        return self._context.model_servers.find(endpoint, deployed_model_id) is not None

    def forget_logs(self, endpoint: str) -> None:
        """Remove what the servers of an endpoint have printed: it is deleted."""
        shutil.rmtree(self._context.data / _folder_of_logs(endpoint), ignore_errors=True)

    def logs_of(self, project: str, endpoint_id: str) -> list[tuple[str, Path]]:
        """Return the locations and the log files of an endpoint of a project."""
        folder = self._context.data / LOGS / project
        return [(path.parts[-3], path) for path in sorted(folder.glob(f"*/{endpoint_id}/*.log"))]

    async def stop(self, endpoint: str, deployed_model_id: str) -> None:
        """End the server of a deployed model."""
        self.zero.forget(endpoint, deployed_model_id)
        await self._context.model_servers.remove(endpoint, deployed_model_id)

    def server(self, endpoint: str, deployed: Message) -> ModelServer:
        """Return the server of a deployed model that is asked; after a restart it starts with the first request.

        ApiError for a model that is at zero, because nobody has asked it for long.
        """
        servers = self._context.model_servers
        server = servers.find(endpoint, deployed.id)
        if server is None:
            server = servers.add(endpoint, deployed.id, self._plan(endpoint, deployed))
        self.zero.meet(endpoint, deployed.id, server)
        return server

    def _plan(self, endpoint: str, deployed: Message) -> ServerPlan:
        version = self._models.version(f"{deployed.model}@{deployed.model_version_id}")
        framework = self._framework(version)
        endpoint_id = endpoint.rpartition("/")[2]
        project, _ = project_and_location(endpoint)
        default = f"/v1/endpoints/{endpoint_id}/deployedModels/{deployed.id}"
        spec = version.message.container_spec
        port = spec.ports[0].container_port if spec.ports else DEFAULT_PORT
        environment = {
            "AIP_MODE": "PREDICTION",
            "AIP_MODE_VERSION": "1.0.0",
            "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
            "AIP_HTTP_PORT": str(port),
            "AIP_HEALTH_ROUTE": spec.health_route or default,
            "AIP_PREDICT_ROUTE": spec.predict_route or f"{default}:predict",
            "AIP_ENDPOINT_ID": endpoint_id,
            "AIP_MODEL_NAME": endpoint_id,
            "AIP_DEPLOYED_MODEL_ID": deployed.id,
            "AIP_VERSION_NAME": deployed.id,
            "AIP_PROJECT_NUMBER": project,
            "AIP_MACHINE_TYPE": deployed.dedicated_resources.machine_spec.machine_type,
            "AIP_STORAGE_URI": version.message.artifact_uri,
            "STORAGE_EMULATOR_HOST": self._context.servers.storage_url,
        }
        reserved = dict(environment)
        add_variables(environment, spec.env)
        environment |= reserved
        container = CustomContainer(spec.image_uri, tuple(spec.command), tuple(spec.args), port)
        return ServerPlan(
            key=hashlib.sha256(f"{endpoint}/{deployed.id}".encode()).hexdigest()[:16],
            framework=framework.name if framework else "",
            artifacts=self._models.artifacts(version),
            health_route=environment["AIP_HEALTH_ROUTE"],
            predict_route=environment["AIP_PREDICT_ROUTE"],
            environment=environment,
            own_interpreter=bool(spec.env) or not (framework and framework.forks),
            container=None if framework else container,
            built=container if framework and framework.name == "predictor" else None,
            contents=self._contents(version) if self._context.environments.isolated else None,
            log=_folder_of_logs(endpoint) / f"{deployed.id}.log",
            deployed_model_id=deployed.id,
            keeps_log=not deployed.disable_container_logging,
        )

    def _contents(self, version: Row) -> image_contents.Contents | None:
        """Return what is in the model's image; None for one of which nothing is known."""
        requirements = ""
        with contextlib.suppress(OSError):
            requirements = (self._context.data / self._models.artifacts(version) / REQUIREMENTS).read_text(
                encoding="utf-8"
            )
        return image_contents.of_image(version.message.container_spec.image_uri, requirements)


def _folder_of_logs(endpoint: str) -> Path:
    """Return where what the servers of an endpoint print is kept, relative to the data folder."""
    _, project, _, location, _, endpoint_id = endpoint.split("/")
    return LOGS / project / location / endpoint_id
