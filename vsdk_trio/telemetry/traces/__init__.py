"""Traces by OpenTelemetry, where they are installed and asked for; else nothing of it is loaded.

One trace for each job: from the registry's frame, or from the `traceparent` in the job's metadata,
through the stages of its dispatch, into its process and to the end of its entrypoint.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "vsdk_trio"
"""Under which name our spans are found."""
