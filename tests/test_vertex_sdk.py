"""Of the SDK a command imports what it uses; everybody else in the process finds all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

ONE = """
import sys
from edge_tasks.cloud.vertex_sdk import client_class, messages
job = client_class("job")
assert job.__name__ == "JobServiceClient", job
def services():
    return {name.split(".")[4] for name in sys.modules if name.startswith("google.cloud.aiplatform_v1.services.")}
assert services() == {"job_service"}, services()
assert messages("model_service").UploadModelResponse(model="m").model == "m"
"""


OTHERS = {
    "a name": """
from google.cloud.aiplatform_v1 import JobServiceClient as same, PredictionServiceClient, Model
Model(name="m")
""",
    "an attribute": """
import google.cloud.aiplatform_v1 as whole
same = whole.JobServiceClient
whole.EndpointServiceAsyncClient
""",
    "a message": """
from google.cloud.aiplatform_v1.types import CustomJob, Study
CustomJob(display_name="j")
same = job
""",
    "all names": """
from google.cloud.aiplatform_v1 import *
same = JobServiceClient
PredictRequest(endpoint="e")
""",
    "the high-level SDK": """
from google.cloud import aiplatform
aiplatform.Model, aiplatform.CustomJob
from google.cloud.aiplatform import gapic
same = gapic.JobServiceClient
""",
    "eight threads": """
import threading
import google.cloud.aiplatform_v1 as whole
found = []
threads = [threading.Thread(target=lambda: found.append(whole.JobServiceClient)) for _ in range(8)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert len(found) == 8 and len(set(found)) == 1, found
same = found[0]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("then", OTHERS.values(), ids=OTHERS)
def test_a_command_that_imported_one_service_leaves_the_whole_sdk_to_others(then: str) -> None:
    script = f"{ONE}\n{then}\nassert same is job, (same, job)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_sdk_that_was_imported_before_is_used_as_it_is() -> None:
    script = (
        "from google.cloud import aiplatform_v1 as whole\nfrom edge_tasks.cloud.vertex_sdk import client_class\n"
        "assert client_class('metadata') is whole.MetadataServiceClient"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_name_that_the_sdk_lacks_is_an_error_in_python_s_words() -> None:
    script = f"{ONE}\nimport google.cloud.aiplatform_v1 as whole\nwhole.Nonsense"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "AttributeError: module 'google.cloud.aiplatform_v1' has no attribute 'Nonsense'" in done.stderr
