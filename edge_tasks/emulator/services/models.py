"""ModelService: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models.

Each version is a separate resource; a model is the set of its versions, of which exactly one holds the
alias `default`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tasks.emulator.data_folder import remove_others
from edge_tasks.emulator.errors import ApiError, Code, invalid, not_found, precondition
from edge_tasks.emulator.runtime import images
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.services import iam_policies
from edge_tasks.emulator.services.buckets import check_bucket
from edge_tasks.emulator.services.names import (
    MODEL_ID,
    ModelName,
    check_aliases,
    check_display_name,
    check_etag,
    check_labels,
    check_parent,
    check_variables,
    new_id,
    parse_model,
)
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.store.database import Row
    from edge_tasks.emulator.store.filters import Function, Predicate

KIND = "Model"
DEFAULT = "default"
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/patch: what all versions share,
# and what each has of its own; both cannot be updated with one request.
OF_MODEL = frozenset({"display_name", "description"})
OF_VERSION = frozenset({"version_description"})
ROUTE = re.compile(r"/[!-~]*")
LARGEST_PORT = 65_535
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelContainerSpec
ANY_ROUTE, LONGEST_DEPLOYMENT = "/*", 7200
PROBE_NUMBERS = ("period_seconds", "timeout_seconds", "failure_threshold", "success_threshold")
MUTABLE = frozenset({"display_name", "description", "labels", "version_description", "metadata", "explanation_spec"})


class Models:
    """Models and their versions."""

    service = "google.cloud.aiplatform.v1.ModelService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations

    async def upload_model(self, request: Message) -> Message:
        """Store a new model, or a new version of one, with a copy of its artifacts."""
        request.model.ClearField("training_pipeline")
        self.check_upload(request)
        if request.model.artifact_uri:
            await check_bucket(self._context.storage, request.model.artifact_uri, "model.artifact_uri", request.parent)
        return await self._operations.start("ModelService.UploadModel", request.model.name, self.upload(request))

    async def get_model(self, request: Message) -> Message:
        """Return a version by id or alias; the default one when none is named."""
        return self._with_deployments([self.version(request.name).message])[0]

    async def list_models(self, request: Message) -> Message:
        """Return the default version of each model of a location."""
        check_parent(request.parent)
        prefix = f"{request.parent}/models/"
        rows = [
            row
            for row in self._context.database.every(KIND)
            if row.message.name.startswith(prefix) and DEFAULT in row.message.version_aliases
        ]
        models, token = page(rows, request, self._descriptor, {"model": prefix}, BASE_MODEL)
        models = self._with_deployments(models)
        return self._context.surface.new("ListModelsResponse", models=models, next_page_token=token)

    async def list_model_versions(self, request: Message) -> Message:
        """Return the versions of a model, the first one first, as Google's own system tests expect it."""
        name = parse_model(request.name)
        rows = self._versions(name)
        models, token = page(rows, request, self._descriptor, oldest_first=True)
        models = self._with_deployments(models)
        return self._context.surface.new("ListModelVersionsResponse", models=models, next_page_token=token)

    async def update_model(self, request: Message) -> Message:
        """Change the masked fields of a version; the default one when none is named."""
        given = request.model
        # The SDK's ModelRegistry names the version that it updates in the body only.
        in_name = "@" in given.name
        model = self.version(
            given.name if in_name or not given.version_id else f"{given.name}@{given.version_id}"
        ).message
        check_etag(model, given)
        paths = list(request.update_mask.paths)
        if paths == ["*"]:
            paths = sorted(MUTABLE - (OF_MODEL if in_name else OF_VERSION))
        _check_level(paths, of_model=not in_name, of_version=in_name or bool(given.version_id))
        apply_mask(model, given, paths, MUTABLE)
        check_display_name(model)
        check_labels(model)
        model.etag = secrets.token_hex(8)
        with self._context.database.transaction():
            self._save(model)
            self._share(model, [path for path in paths if path in OF_MODEL])
        return model

    async def merge_version_aliases(self, request: Message) -> Message:
        """Give aliases to a version, taking them from others; `-alias` takes one away."""
        chosen = self.version(request.name).message
        added = [alias for alias in request.version_aliases if not alias.startswith("-")]
        removed = {alias[1:] for alias in request.version_aliases if alias.startswith("-")}
        if not request.version_aliases:
            raise invalid("version_aliases is required.")
        check_aliases([*added, *removed])
        if DEFAULT in removed and DEFAULT not in added and DEFAULT in chosen.version_aliases:
            raise precondition(
                "The alias `default` cannot be removed: exactly one version of a model has it. Give it to"
                " another version instead."
            )
        # Adding and removing the same alias cancel each other out.
        aliases = [a for a in chosen.version_aliases if a not in removed or a in added]
        aliases += [a for a in dict.fromkeys(added) if a not in removed and a not in aliases]
        with self._context.database.transaction():
            self._take_aliases(parse_model(chosen.name), aliases, from_all_but=chosen.version_id)
            chosen.version_aliases[:] = aliases
            self._save(chosen)
        return chosen

    async def delete_model_version(self, request: Message) -> Message:
        """Delete one version; not the last, not the default, not one that is deployed."""
        name = parse_model(request.name)
        if name.version is None:
            raise invalid(f"Invalid name {request.name!r}: it must name a version, as in models/ID@1.")
        row = self.version(request.name)
        version = row.message
        if len(self._versions(name)) == 1:
            raise precondition(f"{_shown(version)} is the only version of the model: delete the model instead.")
        self._check_not_deployed(version.name, version.version_id)
        if DEFAULT in version.version_aliases:
            raise precondition(f"{_shown(version)} is the default version: give `default` to another one first.")
        return await self._operations.start("ModelService.DeleteModelVersion", version.name, self._delete([row]))

    async def delete_model(self, request: Message) -> Message:
        """Delete a model with all its versions, unless one is deployed."""
        name = parse_model(request.name)
        if name.version is not None:
            raise invalid("A version is deleted with DeleteModelVersion; DeleteModel takes the name of a model.")
        rows = self._versions(name)
        self._check_not_deployed(name.name)
        return await self._operations.start("ModelService.DeleteModel", name.name, self._delete(rows, name.name))

    def check_upload(self, request: Message) -> None:
        """Refuse what cannot be uploaded, and give the model its name."""
        check_parent(request.parent)
        model = request.model
        check_display_name(model)
        check_labels(model)
        check_aliases(model.version_aliases)
        if model.HasField("container_spec"):
            _check_container(model.container_spec)
        if model.artifact_uri:
            parse_uri(model.artifact_uri, "model.artifact_uri")
        model.name = self.name_for_upload(request)

    def name_for_upload(self, request: Message) -> str:
        """Return the name that an uploaded or copied model gets."""
        if request.parent_model:
            parent = parse_model(request.parent_model, "parent_model")
            if parent.parent != request.parent:
                raise invalid(f"parent_model {request.parent_model!r} is not in {request.parent}.")
            self._versions(parent)
            return parent.name
        model_id = request.model_id or new_id()
        if request.model_id and not MODEL_ID.fullmatch(request.model_id):
            raise invalid(
                f"Invalid model_id {request.model_id!r}: up to 63 of [a-z0-9_-], the first no digit and no hyphen."
            )
        name = f"{request.parent}/models/{model_id}"
        if self._context.database.children(KIND, name):
            raise ApiError(
                Code.ALREADY_EXISTS,
                f"Model `{name}` already exists; name it as parent_model to upload a new version.",
            )
        return name

    async def upload(self, request: Message) -> Message:
        """Copy the artifacts of a checked upload and store its model."""
        model = request.model

        async def fill(folder: Path) -> None:
            if model.artifact_uri:
                await self._copy_artifacts(model, folder)

        await self.add(model, fill, is_new=not request.parent_model)
        return self._context.surface.new("UploadModelResponse", model=model.name, model_version_id=model.version_id)

    async def add(self, model: Message, fill: Callable[[Path], Awaitable[None]], *, is_new: bool) -> None:
        """Fill a folder with the artifacts of a model and store the model: both, or neither."""
        token = secrets.token_hex(8)
        folder = self._context.data / "models" / token
        folder.mkdir(parents=True)
        try:
            await fill(folder)
            self._insert(model, token, is_new=is_new)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def recover(self) -> None:
        """Remove the artifacts of uploads and deletions that an earlier run could not finish."""
        kept = {str(row.private["artifacts"]) for row in self._context.database.every(KIND)}
        remove_others(self._context.data / "models", kept)

    def version(self, name: str) -> Row:
        """Return the version that a name means: `models/ID`, `models/ID@2` or `models/ID@alias`."""
        parsed = parse_model(name)
        wanted = parsed.version or DEFAULT
        if wanted.isdigit():
            row = self._context.database.find(KIND, f"{parsed.name}@{wanted}")
            if row is not None:
                return row
        else:
            for row in self._context.database.children(KIND, parsed.name):
                if wanted in row.message.version_aliases:
                    return row
        raise not_found("Model", name)

    def artifacts(self, row: Row) -> Path:
        """Return the folder with the copied artifacts of a version, relative to the data folder."""
        return Path("models") / str(row.private["artifacts"])

    @property
    def _descriptor(self) -> object:
        return self._context.surface.new(KIND).DESCRIPTOR

    def _versions(self, name: ModelName) -> list[Row]:
        rows = self._context.database.children(KIND, name.name)
        if not rows:
            raise not_found("Model", name.name)
        return rows

    async def _copy_artifacts(self, model: Message, folder: Path) -> None:
        uri = model.artifact_uri
        location = parse_uri(uri, "model.artifact_uri")
        count = await asyncio.to_thread(self._context.storage.download_folder, location, folder)
        framework = images.framework_of(model.container_spec.image_uri)
        files = framework.files if framework is not None else ()
        if files and sum((folder / name).is_file() for name in files) != 1:
            # In Google's words: https://github.com/GoogleCloudPlatform/vertex-ai-samples/pull/1165.
            raise precondition(f"Model directory {uri} is expected to contain exactly one of: [{', '.join(files)}].")
        if not count:
            raise invalid(f"The artifact_uri {uri} holds no files: it must be an existing Cloud Storage directory.")

    def _insert(self, model: Message, token: str, *, is_new: bool) -> None:
        database = self._context.database
        name = parse_model(model.name)
        with database.transaction():
            others = database.children(KIND, name.name)
            if is_new and others:
                raise ApiError(Code.ALREADY_EXISTS, f"Model `{name.name}` already exists.")
            if not is_new and not others:
                raise not_found("Model", name.name)
            model.version_id = str(database.next_in(name.name))
            aliases = list(dict.fromkeys([*model.version_aliases, *([] if others else [DEFAULT])]))
            self._take_aliases(name, aliases, from_all_but=model.version_id)
            model.version_aliases[:] = aliases
            model.version_create_time.GetCurrentTime()
            # The model is as old as its first version.
            model.create_time.CopyFrom(others[-1].message.create_time if others else model.version_create_time)
            self._complete(model)
            database.insert(KIND, _key(model), name.name, model, artifacts=token)

    def _complete(self, model: Message) -> None:
        """Fill in what only the server knows."""
        model.ClearField("deployed_models")
        surface = self._context.surface
        # Without this the SDK deploys without machines.
        model.supported_deployment_resources_types[:] = [
            surface.enum_value("Model.DeploymentResourcesType", "DEDICATED_RESOURCES")
        ]
        # Present and empty, as in what Vertex AI answers.
        model.predict_schemata.SetInParent()
        model.model_source_info.source_type = surface.enum_value("ModelSourceInfo.ModelSourceType", "CUSTOM")
        model.supported_input_storage_formats[:] = ["jsonl", "csv"]
        model.supported_output_storage_formats[:] = ["jsonl"]
        del model.supported_export_formats[:]
        if model.artifact_uri:
            artifact = surface.enum_value("Model.ExportFormat.ExportableContent", "ARTIFACT")
            model.supported_export_formats.add(id="custom-trained", exportable_contents=[artifact])
        model.etag = secrets.token_hex(8)
        self._touch(model)

    def _touch(self, model: Message) -> None:
        model.update_time.GetCurrentTime()
        model.version_update_time.CopyFrom(model.update_time)

    def _share(self, model: Message, paths: Sequence[str]) -> None:
        """Give the other versions what is the model's and has been changed with one of them."""
        for row in self._context.database.children(KIND, model.name) if paths else ():
            if row.message.version_id != model.version_id:
                apply_mask(row.message, model, paths, OF_MODEL)
                self._save(row.message)

    def _save(self, model: Message) -> None:
        self._touch(model)
        self._context.database.update(_key(model), model)

    def _take_aliases(self, name: ModelName, aliases: Sequence[str], from_all_but: str) -> None:
        """Take aliases from the other versions: an alias belongs to one."""
        for row in self._context.database.children(KIND, name.name):
            model = row.message
            kept = [alias for alias in model.version_aliases if alias not in aliases]
            if model.version_id != from_all_but and len(kept) != len(model.version_aliases):
                model.version_aliases[:] = kept
                self._save(model)

    def _with_deployments(self, models: list[Message]) -> list[Message]:
        """Fill in where the models are deployed, which only the endpoints know."""
        for row in self._context.database.every("Endpoint"):
            for deployed in row.message.deployed_models:
                for model in models:
                    if (deployed.model, deployed.model_version_id) == (model.name, model.version_id):
                        model.deployed_models.add(endpoint=row.message.name, deployed_model_id=deployed.id)
        return models

    def _check_not_deployed(self, model: str, version: str | None = None) -> None:
        for row in self._context.database.every("Endpoint"):
            for deployed in row.message.deployed_models:
                if deployed.model == model and version in {None, deployed.model_version_id}:
                    raise precondition(
                        f"Model `{model}` is deployed on the endpoint `{row.message.name}`"
                        f" (deployed model {deployed.id}): undeploy it first."
                    )

    async def _delete(self, rows: Sequence[Row], whole_model: str | None = None) -> Message:
        with self._context.database.transaction():
            for row in rows:
                for evaluation in self._context.database.children("ModelEvaluation", _key(row.message)):
                    for part in self._context.database.children("ModelEvaluationSlice", evaluation.message.name):
                        self._context.database.delete(part.message.name)
                    self._context.database.delete(evaluation.message.name)
                self._context.database.delete(_key(row.message))
            if whole_model is not None:
                self._context.database.end_sequence(whole_model)
                iam_policies.forget(self._context.database, whole_model)
        for row in rows:
            await asyncio.to_thread(shutil.rmtree, self._context.data / self.artifacts(row), ignore_errors=True)
        return self._context.surface.new("google.protobuf.Empty")


def _check_level(paths: Sequence[str], *, of_model: bool, of_version: bool) -> None:
    """Refuse a mask with fields of the model where a version is named, and the other way round."""
    shared, own = OF_MODEL.intersection(paths), OF_VERSION.intersection(paths)
    if shared and own:
        raise precondition(f"{_listed(shared)} of a model and {_listed(own)} of a version are updated separately.")
    if shared and not of_model:
        raise precondition(f"{_listed(shared)} is the same for all versions: name the model, without a version.")
    if own and not of_version:
        raise precondition(f"{_listed(own)} belongs to a version: name one, as in models/ID@1.")


def _check_container(spec: Message) -> None:
    # https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelContainerSpec
    if not spec.image_uri:
        raise invalid("model.container_spec.image_uri is required.")
    check_variables(spec.env)
    for field in ("predict_route", "health_route"):
        if getattr(spec, field) and not ROUTE.fullmatch(getattr(spec, field)):
            raise invalid(f"model.container_spec.{field} must be a path such as /predict.")
    _check_route(spec)
    seconds = spec.deployment_timeout.ToTimedelta().total_seconds()
    if not 0 <= seconds <= LONGEST_DEPLOYMENT:
        raise invalid(f"model.container_spec.deployment_timeout must be at most {LONGEST_DEPLOYMENT} seconds.")
    for field in ("startup_probe", "health_probe", "liveness_probe"):
        probe = getattr(spec, field)
        if any(getattr(probe, name) < 0 for name in PROBE_NUMBERS):
            raise invalid(f"model.container_spec.{field}: {', '.join(PROBE_NUMBERS)} must be at least 1.")
    if any(not 1 <= port.container_port <= LARGEST_PORT for port in spec.ports):
        raise invalid(f"model.container_spec.ports must be numbers from 1 to {LARGEST_PORT}.")


def _check_route(spec: Message) -> None:
    if spec.invoke_route_prefix and spec.invoke_route_prefix != ANY_ROUTE:
        raise invalid(f"model.container_spec.invoke_route_prefix must be {ANY_ROUTE}.")
    if spec.invoke_route_prefix and spec.predict_route:
        raise invalid("Only one of predict_route and invoke_route_prefix of model.container_spec can be set.")


def _base_model(name: str) -> Predicate:
    """Tell models that were made of a model of Google's, by its name in the Model Garden."""
    return lambda model: model.base_model_source.model_garden_source.public_model_name.rpartition("/")[2] == name


BASE_MODEL: Mapping[str, Function] = dict.fromkeys(("base_model_name", "baseModelName"), _base_model)


def _listed(fields: Iterable[str]) -> str:
    return " and ".join(sorted(fields))


def _key(model: Message) -> str:
    return f"{model.name}@{model.version_id}"


def _shown(model: Message) -> str:
    return f"Model `{model.name}@{model.version_id}`"
