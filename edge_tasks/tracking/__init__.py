"""From what Sacred tells of a run to its record in the bucket, and wherever else it is to be shown."""

from __future__ import annotations

import warnings

# Sacred imports pkg_resources, which warns about itself.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
