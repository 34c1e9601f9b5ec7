"""The index keeps the standard's modalities and nothing that a sender made up."""

import sqlalchemy as sa
from pydicom.sr.codedict import codes

from daemon.database import schema as t
from daemon.intake.modalities import MODALITIES
from tests.steps.installation import Installation, another, image

DESTINATIONS = ("reports",)


def test_a_modality_that_is_no_defined_term_is_not_stored(installation: Installation):
    first = image()
    second = another(first)
    second.Modality = "12345678950"  # as VR CS goes, this is one
    installation.send(first, second)
    with installation.database.read() as connection:
        rows = connection.execute(sa.select(t.instance.c.modality).order_by(t.instance.c.received_at))
        assert rows.scalars().all() == ["DX", None]


def test_every_code_of_cid_33_is_a_modality():
    assert {getattr(codes.cid33, name).value for name in codes.cid33.dir()} <= MODALITIES
