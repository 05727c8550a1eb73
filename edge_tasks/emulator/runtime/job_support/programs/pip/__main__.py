"""`python -m pip` inside a job is the same program as `pip` there."""

import os
import sys

os.execv(os.environ["VERTEX_EMULATOR_PIP"], ["pip", *sys.argv[1:]])  # noqa: S606
