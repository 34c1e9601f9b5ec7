"""A consignment holds documents that name the patient, and shows none of them."""

from typing import Any

from daemon.steps.consignment import Consignment


def test_the_representation_shows_no_earlier_document():
    nothing: Any = None
    shown = repr(Consignment(nothing, nothing, [], nothing, (b'{"name": "PLANTSOYAD"}',)))
    assert "PLANTSOYAD" not in shown
