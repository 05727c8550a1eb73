"""The whole emulator: makes the parts, connects them, starts and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import psutil

from edge_tasks.emulator.clock import Clock
from edge_tasks.emulator.errors import StartError
from edge_tasks.emulator.http import metadata_server, resource_manager
from edge_tasks.emulator.http.application import Application
from edge_tasks.emulator.http.exchange import Reply, Request, json_reply
from edge_tasks.emulator.http.server import bind, make_server
from edge_tasks.emulator.http.transcoding import Transcoder
from edge_tasks.emulator.rpc import server as rpc_server
from edge_tasks.emulator.rpc.server import GrpcServer
from edge_tasks.emulator.runtime import processes
from edge_tasks.emulator.runtime.bucket import Storage
from edge_tasks.emulator.runtime.docker import Docker
from edge_tasks.emulator.runtime.environments import SHARED, Environments
from edge_tasks.emulator.runtime.forks import Forks
from edge_tasks.emulator.runtime.google_front import GoogleFront
from edge_tasks.emulator.runtime.job_environment import Servers
from edge_tasks.emulator.runtime.job_runner import JobRunner
from edge_tasks.emulator.runtime.programs import Programs
from edge_tasks.emulator.schema import surface as schema
from edge_tasks.emulator.services import environments as environment_routes
from edge_tasks.emulator.services import names, private_endpoints, registry, time_series
from edge_tasks.emulator.services.batch_predictions import BatchPredictions
from edge_tasks.emulator.services.context import Context
from edge_tasks.emulator.services.datasets import Datasets
from edge_tasks.emulator.services.deployments import Deployments
from edge_tasks.emulator.services.endpoints import Endpoints
from edge_tasks.emulator.services.explanations import Explanations
from edge_tasks.emulator.services.iam_policies import IamPolicies
from edge_tasks.emulator.services.jobs import Jobs
from edge_tasks.emulator.services.loans import Loans
from edge_tasks.emulator.services.locations import Locations
from edge_tasks.emulator.services.logging import Logging
from edge_tasks.emulator.services.metadata_lineage import MetadataLineage
from edge_tasks.emulator.services.metadata_nodes import MetadataNodes
from edge_tasks.emulator.services.metadata_stores import MetadataStores
from edge_tasks.emulator.services.model_copies import ModelCopies
from edge_tasks.emulator.services.model_evaluations import ModelEvaluations
from edge_tasks.emulator.services.model_monitoring_jobs import ModelMonitoringJobs
from edge_tasks.emulator.services.model_monitors import ModelMonitors
from edge_tasks.emulator.services.models import Models
from edge_tasks.emulator.services.monitoring_jobs import MonitoringJobs
from edge_tasks.emulator.services.operations import Operations
from edge_tasks.emulator.services.pipeline_jobs import PipelineJobs
from edge_tasks.emulator.services.pipeline_operators import Operators
from edge_tasks.emulator.services.predictions import Predictions
from edge_tasks.emulator.services.private_endpoints import PrivateEndpoints
from edge_tasks.emulator.services.request_counts import RequestCounts
from edge_tasks.emulator.services.request_logs import RequestLogs
from edge_tasks.emulator.services.scheduled_runs import MONITORING, PIPELINE, MonitoringRuns, PipelineRuns, Runs
from edge_tasks.emulator.services.schedules import Schedules
from edge_tasks.emulator.services.studies import Studies
from edge_tasks.emulator.services.tensorboard_data import TensorboardData
from edge_tasks.emulator.services.tensorboards import Tensorboards
from edge_tasks.emulator.services.time_series import TimeSeries
from edge_tasks.emulator.services.training_pipelines import TrainingPipelines
from edge_tasks.emulator.services.tuning_jobs import TuningJobs
from edge_tasks.emulator.serving.model_server import ModelServers
from edge_tasks.emulator.storage.service import StorageService
from edge_tasks.emulator.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_tasks.emulator.data_folder import DataFolder
    from edge_tasks.emulator.http.application import RawHandler
    from edge_tasks.emulator.runtime.early_start import EarlyServer

CLOCK = "/_emulator/clock"


class Emulator:
    """One emulator over one data folder."""

    def __init__(
        self,
        database: Database,
        surface: schema.Surface,
        data: Path,
        servers: Servers,
        environments: Environments | None = None,
        announce: Callable[[str], None] = lambda _: None,
        front: GoogleFront | None = None,
        early: EarlyServer | None = None,
    ) -> None:
        self.database = database
        self.environments = environments = environments or Environments()
        storage = Storage(servers.storage_url)
        transcoder = Transcoder(surface)
        self.engine = Docker(data, database)
        self.forks = Forks(database, early)
        self.model_servers = ModelServers(database, self.engine, environments, self.forks)
        clock = Clock()
        parts = (servers, storage, self.model_servers, self.engine, environments, clock)
        context = Context(surface, transcoder, database, data, *parts)
        self.operations = Operations(context)
        runner = JobRunner(Programs(servers, storage, database, self.engine, environments, self.forks, front))
        self.jobs = Jobs(context, self.operations, runner)
        self.models = models = Models(context, self.operations)
        self.deployments = deployments = Deployments(context, models)
        endpoints = Endpoints(context, self.operations, models, deployments)
        datasets = Datasets(context, self.operations)
        self.pipelines = TrainingPipelines(context, self.operations, self.jobs, models, datasets)
        self.tuning = TuningJobs(context, self.operations, self.jobs)
        services: list[registry.Service] = [self.operations, self.jobs, models, endpoints, Locations(context)]
        services += [IamPolicies(context), datasets, Studies(context, self.operations)]
        self.batches = BatchPredictions(context, self.operations, models, deployments)
        operators = Operators(context)
        self.pipeline_jobs = PipelineJobs(context, self.operations, self.jobs, operators)
        services += [self.pipelines, self.pipeline_jobs, self.tuning, self.batches]
        services += [ModelCopies(context, self.operations, models), ModelEvaluations(context, models)]
        services += [MetadataStores(context, self.operations), MetadataNodes(context, self.operations)]
        services += [MetadataLineage(context), Tensorboards(context, self.operations), TensorboardData(context)]
        self.monitoring = ModelMonitoringJobs(context, self.operations)
        services += [MonitoringJobs(context, self.operations), ModelMonitors(context, self.operations, models)]
        services += [self.monitoring]
        runs: dict[str, Runs] = {
            PIPELINE: PipelineRuns(context, self.pipeline_jobs),
            MONITORING: MonitoringRuns(self.monitoring),
        }
        self.schedules = Schedules(context, self.operations, runs)
        services += [self.schedules]
        self.request_logs = RequestLogs(storage, clock)
        self.request_counts = RequestCounts(data, clock)
        self.time_series = TimeSeries(self.request_counts)
        raw_routes: dict[tuple[str, str], RawHandler] = {
            **metadata_server.raw_routes(lambda: names.project_of(database.latest_name())),
            **environment_routes.raw_routes(environments, lambda: announce(environments.kind)),
            ("GET", "/_emulator/health"): _health(data),
            ("POST", "/v2/entries:list"): Logging(self.jobs, deployments).list_entries,
            ("GET", CLOCK): clock.show,
            ("POST", CLOCK): clock.move,
        }
        raw_prefixes: dict[str, RawHandler] = {
            resource_manager.PREFIX: self._of_project,
            private_endpoints.PREFIX: PrivateEndpoints(context, deployments).answer,
        }
        services += [Explanations(context, deployments, models)]
        handlers = registry.handlers(surface, services)
        operators.connect(handlers)
        loans = Loans(database, clock, self.request_counts)
        direct = Predictions(context, deployments, self.request_logs, self.request_counts, loans).direct()
        self.application = Application(surface, transcoder, handlers, direct, raw_routes, raw_prefixes)
        self.application.faults.when_added(loans.recall)
        self.grpc = GrpcServer(surface, handlers, direct, self.application.faults)

    def recover(self) -> None:
        """Settle what an earlier run could not finish."""
        self.operations.recover()
        self.jobs.recover()
        self.pipelines.recover()
        self.tuning.recover()
        self.batches.recover()
        self.pipeline_jobs.recover()
        self.monitoring.recover()
        self.models.recover()
        self.deployments.recover()
        self.schedules.recover()

    async def close(self) -> None:
        """End jobs, operations and model servers."""
        self.environments.close()
        await self.schedules.close()
        await self.deployments.close()
        # First, so that a pipeline does not see the end of its jobs as their failure.
        await self.pipeline_jobs.close()
        running = (self.jobs, self.pipelines, self.tuning, self.batches, self.monitoring, self.operations)
        await asyncio.gather(*(service.close() for service in running))
        await self.model_servers.stop()
        await self.forks.stop()
        await self.request_logs.close()
        await self.request_counts.close()

    async def _of_project(self, request: Request) -> Reply:
        """Answer what Resource Manager and Cloud Monitoring have below the same path."""
        if request.path.endswith(time_series.PATH_END):
            return await self.time_series.list_time_series(request)
        return await resource_manager.get_project(request)


async def run(
    folder: DataFolder, port: int, storage_port: int, environments: str = SHARED, early: EarlyServer | None = None
) -> None:
    """Start everything, announce it, and serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    last_port, last_storage_port, last_grpc_port = folder.last_ports()
    surface = schema.load()
    database = Database(folder.path / "store.sqlite3", surface)
    # Ports of left-over servers are free after this.
    processes.end_left_overs(database)
    folder.withdraw()
    listener = _listen(port, last_port, "--port")
    storage_listener = _listen(storage_port, last_storage_port, "--storage-port")
    port, storage_port = int(listener.getsockname()[1]), int(storage_listener.getsockname()[1])
    grpc_keeper = rpc_server.reserve(last_grpc_port)
    grpc_port = int(grpc_keeper.getsockname()[1])
    storage = StorageService(folder.path)
    try:
        storage.start(storage_listener)
        addresses = (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{storage_port}", f"127.0.0.1:{grpc_port}")
        servers = Servers(*addresses)
        front = GoogleFront(storage.application, servers.storage_url, folder.path)
        parts = (Environments(kind=environments), folder.announce_environments, front, early)
        emulator = Emulator(database, surface, folder.path, servers, *parts)
        emulator.recover()
        # Model servers are addressed relative to the data folder: see serving.model_server.
        os.chdir(folder.path)
        server = make_server(emulator.application)
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        folder.announce(psutil.Process().create_time(), port, storage_port, grpc_port, environments)
        _say(
            f"Vertex AI emulator at {servers.vertex_url}, by gRPC at {servers.grpc_address},"
            f" Cloud Storage at {servers.storage_url}, data in {folder.path}"
        )
        # Not before: the first answer does not wait for it.
        emulator.deployments.prepare()
        answering_grpc = asyncio.ensure_future(emulator.grpc.start(grpc_keeper))
        tidying = asyncio.ensure_future(emulator.engine.remove_left_overs())
        sweeping = asyncio.ensure_future(storage.tidy())
        asked = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([asked, serving], return_when=asyncio.FIRST_COMPLETED)
        folder.withdraw()
        await asyncio.wait([answering_grpc])
        await asyncio.gather(emulator.close(), emulator.grpc.close())
        await front.close()
        server.should_exit = True
        await serving
        tidying.cancel()
        await asyncio.wait([sweeping])
    finally:
        await storage.close()
        database.close()


def _say(line: str) -> None:
    # The program that started us may not be there to read it.
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201  (the one line that is printed)


def _listen(port: int, last: int, option: str) -> socket.socket:
    """Return a listening socket on the asked port; else on the last one, if it is free; else on any."""
    if port:
        try:
            return bind(port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StartError(
                f"port {port} cannot be used: {reason}",
                f"choose another one, or let the emulator choose: {option} 0",
            ) from error
    with contextlib.suppress(OSError, OverflowError):
        if last:
            return bind(last)
    return bind(0)


def _health(data: Path) -> RawHandler:
    async def health(_: Request) -> Reply:
        return json_reply({"status": "ok", "pid": os.getpid(), "data": str(data)})

    return health
