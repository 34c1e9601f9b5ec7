"""The FHIR server for the tests of this folder."""

from tests.peers.medplum import fhir_server, medplum

__all__ = ["fhir_server", "medplum"]
