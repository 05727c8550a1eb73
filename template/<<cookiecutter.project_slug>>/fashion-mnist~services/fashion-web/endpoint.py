"""Ask the model's endpoint on Vertex AI, through Google's SDK.

The environment leads the way: ENDPOINT_NAME is the endpoint's resource name. `invoke service.run`
sets it, and what the SDK needs to find the target of edge.yaml.
"""

import functools
import os

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud import aiplatform
from pages import EndpointError

TIMEOUT = 30.0  # seconds

# Those of the network are OSErrors. The last two: no resource name, or no class numbers.
FAILURES = (GoogleAPIError, GoogleAuthError, OSError, TypeError, ValueError)


def ask(instances):
    """Return the class number that the endpoint answers to each of `instances`."""
    try:
        found = endpoint()
        # A dedicated endpoint, which scale_to_zero takes, answers at its own address only.
        own = found.dedicated_endpoint_enabled
        answer = found.predict(instances=instances, timeout=TIMEOUT, use_dedicated_endpoint=own)
        return [int(prediction) for prediction in answer.predictions]
    except FAILURES as error:
        raise EndpointError(str(error)) from error


@functools.cache
def endpoint():
    name = os.environ.get("ENDPOINT_NAME")
    if not name:
        raise EndpointError("ENDPOINT_NAME is not set; `invoke service.run` sets it")
    return aiplatform.Endpoint(name)
