"""Medplum's FHIR R4 router with its in-memory repository: the EHR's FHIR server, as a child on a free loopback port.

Fixtures: `medplum` (one process for the session) and `fhir_server` (the same, empty at the start of each test). A
folder of tests takes them by importing both names in its `conftest.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.peers import node
from tests.peers.process import PeerProcess
from tests.waiting import wait_until

_SCRIPT = Path(__file__).with_name("fhir_server.mjs")


class FhirServer:
    """A running server; `url` is its base."""

    def __init__(self, folder: Path) -> None:
        program = node.node_command()
        assert program, "Node.js is not installed"
        self.process = PeerProcess([program, _SCRIPT], log=folder / "fhir-server.log")
        self.port: int = wait_until(self._announced_port, "the FHIR server to say its port", 40)
        self.url = f"http://127.0.0.1:{self.port}/fhir"
        self._http = httpx.Client(trust_env=False, timeout=30.0)

    def _announced_port(self) -> int:
        assert self.process.running, f"the FHIR server ended at once:\n{self.process.output()}"
        first, ended, _ = self.process.output().partition("\n")
        return int(json.loads(first)["port"]) if ended else 0

    def clear(self) -> None:
        """Forget all resources."""
        self._http.delete(self.url).raise_for_status()

    def create(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Create a resource; it as stored."""
        answer = self._http.post(f"{self.url}/{resource['resourceType']}", json=resource).raise_for_status()
        return dict(answer.json())

    def update(self, resource: dict[str, Any]) -> None:
        """Replace a resource, as another user of the server would."""
        self._http.put(f"{self.url}/{resource['resourceType']}/{resource['id']}", json=resource).raise_for_status()

    def delete(self, resource: dict[str, Any]) -> None:
        """Remove a resource."""
        self._http.delete(f"{self.url}/{resource['resourceType']}/{resource['id']}").raise_for_status()

    def search(self, resource_type: str, **parameters: str) -> list[dict[str, Any]]:
        """The resources that a search finds."""
        answer = self._http.get(f"{self.url}/{resource_type}", params=parameters).raise_for_status().json()
        return [entry["resource"] for entry in answer.get("entry", [])]

    def versions(self, resource: dict[str, Any]) -> int:
        """How many versions of a resource the server keeps."""
        url = f"{self.url}/{resource['resourceType']}/{resource['id']}/_history"
        return len(self._http.get(url).raise_for_status().json()["entry"])

    def problems(self, resource: dict[str, Any]) -> list[dict[str, Any]]:
        """What Medplum's validator, which knows R4's definitions, has against a resource; empty for a valid one."""
        answer = self._http.post(f"{self.url}/{resource['resourceType']}/$validate", json=resource).json()
        issues: list[dict[str, Any]] = answer["issue"]
        return [issue for issue in issues if issue["severity"] in {"fatal", "error"}]

    def stop(self) -> None:
        """End the process."""
        self._http.close()
        self.process.stop()


@pytest.fixture(scope="session")
def medplum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    server = FhirServer(tmp_path_factory.mktemp("medplum"))
    yield server
    server.stop()


@pytest.fixture
def fhir_server(medplum: FhirServer) -> FhirServer:
    medplum.clear()
    return medplum
