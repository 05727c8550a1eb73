"""The image of a predictor: Python, the libraries of one artifact, and the model server. The artifact is not in it.

So an image is built once for each set of libraries, not for each version of a model.
"""

from __future__ import annotations

from edge_tasks.domain.model_formats import REQUIREMENTS_FILE
from edge_tasks.domain.serving_choice import PORT, ArtifactFacts, python_version

# What the model server itself needs.
SERVER_REQUIREMENTS = ("httptools==0.9.0", "orjson==3.13.0", "uvloop==0.23.0")
SERVER_REQUIREMENTS_FILE = "requirements-server.txt"

# Docker Hub's images by Google's mirror, which Cloud Build reaches at once and without a limit.
_BASE = "mirror.gcr.io/library/python:{version}-slim"
# Libraries of the system that wheels of these packages expect.
_SYSTEM = {"lightgbm": "libgomp1", "opencv-python": "libgl1 libglib2.0-0"}

_TEMPLATE = """\
# Written by vertex-edge for the libraries of one artifact. The artifact is fetched when a container starts.
FROM {base}
{system}ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app HOME=/tmp PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY {requirements} {server} ./
RUN pip install -r {requirements} -r {server}
COPY edge_tasks edge_tasks
RUN python -m compileall -q edge_tasks
USER 1000
EXPOSE {port}
ENTRYPOINT ["python", "-m", "edge_tasks.serving"]
"""


def dockerfile(artifact: ArtifactFacts) -> str:
    """Return the Dockerfile of the image that serves this artifact."""
    names = {line.partition("==")[0].strip() for line in (artifact.requirements or "").splitlines()}
    packages = " ".join(sorted(_SYSTEM[name] for name in names & _SYSTEM.keys()))
    system = (
        f"RUN apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*\n"
        if packages
        else ""
    )
    return _TEMPLATE.format(
        base=_BASE.format(version=python_version(artifact)),
        system=system,
        requirements=REQUIREMENTS_FILE,
        server=SERVER_REQUIREMENTS_FILE,
        port=PORT,
    )
