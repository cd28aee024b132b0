"""Our registry as the published client meets it: a program on a port, asked over HTTP.

Synchronous, because these tests run under asyncio and must not load trio into the client's process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TOKEN = "peers-test-token"


class RegistryProcess:
    """REST calls to a running `vsdk-trio registry`."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def websocket_url(self) -> str:
        """What `init-config` gives out."""
        data = self.call("POST", "/v2/agent/init-config")[1]["data"]
        return str(data["registryUrl"])

    def call(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """The status and the JSON of one request."""
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body or {}).encode() if method == "POST" else None,
            headers={"Authorization": TOKEN, "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def job(self, job_id: str) -> dict[str, Any]:
        """The record of a job."""
        job: dict[str, Any] = self.call("GET", f"/v2/agent/jobs/{job_id}")[1]["job"]
        return job


@contextmanager
def running_registry() -> Iterator[RegistryProcess]:
    """Run the registry program around the body; it must end cleanly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vsdk_trio", "registry", "--port", "0"],
        stdout=subprocess.PIPE,
        env=os.environ | {"VSDK_TRIO_REGISTRY_TOKEN": TOKEN},
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            yield RegistryProcess(process.stdout.readline().split()[-1])
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
