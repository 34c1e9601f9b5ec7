"""A folder as a destination: each report as FHIR JSON and as a page to read and print. For demonstration and tests.

What lies there is identified and outside the sealed boundary (DESIGN §5): files are 0600, and erasure lists and clears
them. It has no patients of its own, so a report tells its patient within itself (`adapters.fhir.EmbeddedPatient`).

There are no errors of its own: what the file system refuses is a `Retry`, and bytes that are no report raise
`adapters.fhir.DocumentError`.
"""

from adapters.directory.destination import DirectoryDestination, StoredReport
from adapters.directory.html import render

__all__ = ["DirectoryDestination", "StoredReport", "render"]
