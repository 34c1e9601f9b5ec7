"""Orthanc as the PACS: a configuration of its own in a temporary folder, REST and DICOM on free ports."""

import json
import os
from pathlib import Path
from typing import Any

import httpx

from tests.peers.availability import command
from tests.peers.process import PeerProcess, free_port
from tests.waiting import wait_until


class Orthanc:
    """A running Orthanc. `aet` and `dicom_port` are its DICOM side; `rest` is a client of its REST API."""

    aet = "ORTHANC"

    def __init__(self, folder: Path) -> None:
        self.dicom_port = free_port()
        http_port = free_port()
        configuration = {
            "Name": "tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.aet,
            "DicomPort": self.dicom_port,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "HttpsCACertificates": "",
            "DatabaseServerIdentifier": "tests",
        }
        file = folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        program = command("Orthanc")
        assert program, "Orthanc is not installed"
        self.process = PeerProcess(
            [program, file], log=folder / "orthanc.log", env={**os.environ, "LC_ALL": "C.UTF-8"}, cwd=folder
        )
        self.rest = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", trust_env=False, timeout=60.0)
        wait_until(self._answers, f"Orthanc to answer; its log ends:\n{self.process.output()}", 40)

    def _answers(self) -> bool:
        assert self.process.running, f"Orthanc ended at once:\n{self.process.output()}"
        try:
            return self.rest.get("/system").is_success
        except httpx.TransportError:
            return False

    def upload(self, file: bytes) -> str:
        """Store a Part 10 file; Orthanc's identifier of the instance."""
        return str(self.rest.post("/instances", content=file).raise_for_status().json()["ID"])

    def add_modality(self, name: str, aet: str, port: int) -> None:
        """Make a DICOM node on the loopback interface known under `name`."""
        self.rest.put(f"/modalities/{name}", json=[aet, "127.0.0.1", port]).raise_for_status()

    def studies(self) -> list[str]:
        """Orthanc's identifiers of all studies it holds."""
        return list(self.rest.get("/studies").raise_for_status().json())

    def push(self, name: str, *resources: str) -> dict[str, Any]:
        """C-STORE resources (studies, series or instances) to a known node; Orthanc's account. Raises when it fails."""
        answer = self.rest.post(f"/modalities/{name}/store", json={"Resources": list(resources), "Synchronous": True})
        return dict(answer.raise_for_status().json())

    def clear(self) -> None:
        """Forget all patients."""
        for patient in self.rest.get("/patients").raise_for_status().json():
            self.rest.delete(f"/patients/{patient}").raise_for_status()

    def stop(self) -> None:
        """End the server."""
        self.rest.close()
        self.process.stop()
