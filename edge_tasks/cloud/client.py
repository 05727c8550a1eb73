"""Clients for Vertex AI, Cloud Storage and Cloud Logging: the ONLY place where one target is told from another.

Everything else receives a `Cloud` and does not know where it leads: with target `gcp` to Google, with target `local`
to the servers of `edge_tasks.tools.emulator_process` on this machine, through the very same client libraries over REST.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_tasks.cloud.bucket import Bucket
from edge_tasks.cloud.vertex_sdk import client_class
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import (
    MAKE_ROOM,
    CloudError,
    ConflictError,
    EdgeError,
    ForbiddenError,
    NoAnswerError,
    NotFoundError,
)
from edge_tasks.repo.layout import LOCAL_DVC_STORE

# google-api-core tells of every Python version that it will stop to support, at every start.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")

# As the SDK 2.7 prints them: Vertex AI is a part of Google's "agent platform" now.
CONSOLE_URL = "https://console.cloud.google.com/agent-platform"

# Where Google's clients look first for the file with credentials.
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"

# Seconds that one call may take; the clients made here keep to it without being told.
CALL_TIMEOUT = 60.0

# Seconds for which a call to Cloud Storage is repeated while nothing answers; the library's own 120 s look like a hang.
RETRY_LIMIT = 20.0


@dataclass(frozen=True)
class Cloud:
    """A place where Vertex AI, Cloud Storage and Cloud Logging answer, and the clients that reach it."""

    project: str
    region: str
    bucket_name: str
    vertex_url: str
    logging_url: str
    storage_url: str | None
    credentials: Any
    console_url: str | None
    secrets_url: str | None = None
    compute_url: str | None = None
    bigquery_url: str | None = None
    monitoring_url: str | None = None
    quotas_url: str | None = None
    # What is to be said before a job or a model is started there.
    notice: str = ""

    @property
    def parent(self) -> str:
        """The location's resource name, under which jobs, models and endpoints lie."""
        return f"projects/{self.project}/locations/{self.region}"

    @cached_property
    def storage(self) -> Any:
        """A google.cloud.storage Client."""
        from google.cloud import storage

        options = {"api_endpoint": self.storage_url} if self.storage_url else None
        client = storage.Client(project=self.project, credentials=self.credentials, client_options=options)
        # For traces that nobody has asked for, version 3.17 asks for the bucket in another thread, which takes another
        # permission than the objects do, and repeats it for two minutes where nothing answers.
        client._bucket_metadata_cache = None  # noqa: SLF001  (the public setting is for the whole process and its children)
        return client

    @cached_property
    def bucket(self) -> Any:
        """The repository's bucket, as a google.cloud.storage Bucket (not checked to exist)."""
        return self.storage.bucket(self.bucket_name)

    @property
    def storage_limits(self) -> dict[str, Any]:
        """How long one call to Cloud Storage may take, and for how long it is repeated while nothing answers."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        return {"retry": DEFAULT_RETRY.with_timeout(RETRY_LIMIT), "timeout": CALL_TIMEOUT}

    @cached_property
    def objects(self) -> Bucket:
        """The objects in the repository's bucket."""
        return self.objects_in(self.bucket_name)

    def objects_in(self, bucket_name: str) -> Bucket:
        """Return the objects in any bucket."""
        return Bucket(self.storage.bucket(bucket_name), self.storage_limits)

    @cached_property
    def session(self) -> Any:
        """A requests Session for calls whose JSON must arrive exactly as it was sent."""
        from google.auth.transport.requests import AuthorizedSession

        session = AuthorizedSession(self.credentials)
        session.request = functools.partial(session.request, timeout=CALL_TIMEOUT)
        return session

    @cached_property
    def jobs(self) -> Any:
        """A JobServiceClient."""
        return self._vertex_client("job")

    @cached_property
    def models(self) -> Any:
        """A ModelServiceClient."""
        return self._vertex_client("model")

    @cached_property
    def endpoints(self) -> Any:
        """An EndpointServiceClient."""
        return self._vertex_client("endpoint")

    @cached_property
    def pipelines(self) -> Any:
        """A PipelineServiceClient."""
        return self._vertex_client("pipeline")

    @cached_property
    def schedules(self) -> Any:
        """A ScheduleServiceClient."""
        return self._vertex_client("schedule")

    @cached_property
    def metadata(self) -> Any:
        """A MetadataServiceClient."""
        return self._vertex_client("metadata")

    def _vertex_client(self, service: str) -> Any:
        # REST for both targets: one code path, and gRPC cannot speak to a plain-http server.
        return _Limited(
            client_class(service)(
                credentials=self.credentials, transport="rest", client_options={"api_endpoint": self.vertex_url}
            )
        )


class _Limited:
    """A client whose calls end after CALL_TIMEOUT unless they are given another limit.

    A gapic call that nobody limits waits for ever when a server hangs; here nobody can forget it.
    """

    def __init__(self, client: Any):
        self._client = client

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute) or "timeout" not in inspect.signature(attribute).parameters:
            return attribute
        return functools.partial(attribute, timeout=CALL_TIMEOUT)


def connect(config: EdgeConfig, root: Path) -> Cloud:
    """Return the Cloud that `config` points at. With target `local` its servers are started when they do not run.

    Raises ServerError (local) or CloudError (no Google credentials) with the command that helps.
    """
    if config.target == "local":
        from edge_tasks.tools import emulator_process

        servers = emulator_process.ensure_running(root, config.local.environments)
        return Cloud(
            project=config.google_cloud_project.project_id,
            region=config.google_cloud_project.region,
            bucket_name=config.storage_bucket.bucket_name,
            vertex_url=servers.vertex_url,
            logging_url=servers.vertex_url,
            monitoring_url=servers.vertex_url,
            storage_url=servers.storage_url,
            credentials=_no_credentials(),
            console_url=None,
            notice=servers.notice,
        )
    return _google_cloud(config)


def connect_if_running(config: EdgeConfig, root: Path) -> Cloud | None:
    """Return what `connect` does, or None when the servers of target `local` do not run; they are not started."""
    from edge_tasks.tools import emulator_process

    return None if config.target == "local" and emulator_process.running(root) is None else connect(config, root)


def was_initialised(config: EdgeConfig, root: Path) -> bool:
    """Say whether there can be a bucket: local servers that never ran hold none, and need no start to say so."""
    from edge_tasks.tools import emulator_process

    return config.target != "local" or emulator_process.data_directory(root).is_dir()


def connect_from_job(config: EdgeConfig) -> Cloud:
    """Return the Cloud as a training job sees it.

    Vertex AI gives a job application default credentials; the local servers give it the variables that lead to them.
    """
    return _google_cloud(config)


def _google_cloud(config: EdgeConfig) -> Cloud:
    """Return Google's Cloud, or the emulator that the environment leads every Google client to.

    STORAGE_EMULATOR_HOST is honoured by google-cloud-storage itself, VERTEX_EMULATOR_URL by the hook that
    `invoke local.env` puts before the SDK; what reads them here is the same for all who follow them.
    """
    region = config.google_cloud_project.region
    vertex_url = os.environ.get("VERTEX_EMULATOR_URL")
    return Cloud(
        project=config.google_cloud_project.project_id,
        region=region,
        bucket_name=config.storage_bucket.bucket_name,
        vertex_url=vertex_url or f"https://{region}-aiplatform.googleapis.com",
        logging_url=vertex_url or "https://logging.googleapis.com",
        storage_url=None,
        credentials=_no_credentials() if os.environ.get("STORAGE_EMULATOR_HOST") else default_credentials(),
        console_url=None if vertex_url else CONSOLE_URL,
        secrets_url=None if vertex_url else "https://secretmanager.googleapis.com",
        compute_url=None if vertex_url else "https://compute.googleapis.com",
        bigquery_url=None if vertex_url else "https://bigquery.googleapis.com",
        monitoring_url=vertex_url or "https://monitoring.googleapis.com",
        quotas_url=None if vertex_url else "https://cloudquotas.googleapis.com",
    )


def _no_credentials() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()


def default_credentials(without: str = "work on this machine alone: EDGE_TARGET=local") -> Any:
    """Return Google's application default credentials. Raises CloudError when this machine has none.

    `without` is what its hint says can be done without them.

    https://cloud.google.com/docs/authentication/application-default-credentials
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        with warnings.catch_warnings():
            # Of credentials without a quota project; `invoke doctor` looks at that.
            warnings.simplefilter("ignore", UserWarning)
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except DefaultCredentialsError as error:
        problem, login = (
            "no Google Cloud credentials were found on this machine",
            "gcloud auth application-default login",
        )
        if os.environ.get(CREDENTIALS_VARIABLE):
            reason = str(error.args[0]).partition("\n")[0].rstrip(".")
            raise CloudError(
                f"{problem}: {reason} ({CREDENTIALS_VARIABLE} names it)",
                f"in CI: commit the file that invoke ci.setup makes; here: unset {CREDENTIALS_VARIABLE}, then {login}",
            ) from None
        raise CloudError(problem, f"{login}, or {without}") from None
    return credentials


def on_google_cloud(config: EdgeConfig) -> bool:
    """Say whether the target needs a Google Cloud project: an account, billing, APIs."""
    return config.target == "gcp"


@contextlib.contextmanager
def sdk_errors(doing: str) -> Iterator[None]:
    """Turn what the Google clients raise inside the block into an EdgeError that says what was being done.

    `doing` completes the sentence "cannot ...", such as "deploy `digits`".
    """
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except EdgeError:
        raise
    except api.NotFound as error:
        if _NO_BUCKET in str(error):
            name = re.search(r"/b/([^/?]+)", str(error))
            which = f"`{name[1]}`" if name else "of edge.yaml"
            raise NotFoundError(f"cannot {doing}: the bucket {which} does not exist", "invoke init") from error
        raise NotFoundError(f"cannot {doing}: {_words(error)}", "invoke model.list shows what exists") from error
    except (api.Conflict, api.PreconditionFailed) as error:
        raise ConflictError(f"cannot {doing}: {_words(error)}", "look at what exists, then try again") from error
    except (api.Forbidden, api.Unauthorized) as error:
        raise ForbiddenError(
            f"cannot {doing}: permission denied: {_words(error)}",
            "check the account and its roles: gcloud auth list",
        ) from error
    except api.RetryError as error:
        answer = getattr(error.cause, "response", None)
        how = f"answered {answer.status_code}" if answer is not None else "no answer"
        raise NoAnswerError(f"cannot {doing}: {how} for {RETRY_LIMIT:.0f} s", _NETWORK_HINT) from error
    except (api.ServiceUnavailable, api.GatewayTimeout) as error:
        raise NoAnswerError(f"cannot {doing}: no answer: {_words(error)}", _NETWORK_HINT) from error
    except api.GoogleAPIError as error:
        raise CloudError(f"cannot {doing}: {_words(error)}", _hint_for(str(error))) from error
    except auth.GoogleAuthError as error:
        raise CloudError(f"cannot {doing}: {_words(error)}", "gcloud auth application-default login") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise NoAnswerError(f"cannot {doing}: no answer from {_host(error)}", _NETWORK_HINT) from error


# Cloud Storage's words.
_NO_BUCKET = "The specified bucket does not exist"

# Google's own account for an API comes into being with the API's first use.
# https://cloud.google.com/vertex-ai/docs/general/access-control#service-agents
_NO_SERVICE_AGENT = re.compile(
    r"service agents are being provisioned|service-\d+@gcp-sa-[\w-]+\.iam\.gserviceaccount\.com does not exist",
    re.IGNORECASE,
)
_SERVICE_AGENT_HINT = (
    "Google makes its own account for the API just now: try again in a few minutes; "
    "gcloud beta services identity create --service aiplatform.googleapis.com makes it, too"
)

# https://cloud.google.com/vertex-ai/docs/quotas
_NO_QUOTA = re.compile(r"exceeds? (the )?quota|quota .*exceeded", re.IGNORECASE)
_QUOTA_HINT = (
    "ask Google for more: https://console.cloud.google.com/iam-admin/quotas, end what nobody needs (invoke cost.status "
    "lists it), or choose another machine or region in edge.yaml"
)

# The emulator's words, of both of its services.
_NO_ROOM = "No space left on this machine's disk"

_NETWORK_HINT = "check the network (target gcp) or `invoke local.status` (target local), then try again"


def _hint_for(message: str) -> str | None:
    """Return what helps where Google says no more than this."""
    if _NO_SERVICE_AGENT.search(message):
        return _SERVICE_AGENT_HINT
    if _NO_ROOM in message:
        return MAKE_ROOM
    return _QUOTA_HINT if _NO_QUOTA.search(message) else None


def _words(error: Exception) -> str:
    """Return the sentence of a Google error without the request's address and the library's decoration."""
    text = str(getattr(error, "message", None) or error).strip()
    if ": " in text and text.split(": ", 1)[0].split(" ", 1)[0] in ("GET", "POST", "PATCH", "DELETE", "PUT"):
        text = text.split(": ", 1)[1]
    if answer := re.match(r'\{"error": ?\{.*?"message": ?"((?:[^"\\]|\\.)*)"', text):  # the whole of an answer
        text = json.loads(f'"{answer[1]}"')
    return text.splitlines()[0] if text else type(error).__name__


def _host(error: Any) -> str:
    from urllib.parse import urlsplit

    request = getattr(error, "request", None)
    return urlsplit(request.url).netloc if request is not None else "the server"


def dvc_remote_override(config: EdgeConfig) -> str | None:
    """Return the folder that DVC's remote is on this machine only, or None when the bucket itself is used.

    With target `local` it is one of the repository's (relative to its root), so that `dvc push`, `pull` and `repro`
    work with no server running.
    """
    return LOCAL_DVC_STORE if config.target == "local" else None


def client_environment(config: EdgeConfig, root: Path) -> dict[str, str]:
    """Return the variables that lead Google's clients in another process to where `connect` leads.

    PYTHONPATH among them goes before what it held. Target `local` has its servers started when they do not run.
    """
    project, region = config.google_cloud_project.project_id, config.google_cloud_project.region
    if config.target == "local":
        from edge_tasks.tools import emulator_process

        servers = emulator_process.ensure_running(root, config.local.environments)
        return emulator_process.environment(servers, project, region)
    return {"GOOGLE_CLOUD_PROJECT": project, "GOOGLE_CLOUD_REGION": region}
