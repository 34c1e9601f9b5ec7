"""Heatmaps are kept sealed, named by the signed result, and go where a destination wants them."""

import base64
import json
from dataclasses import replace
from io import BytesIO

import pytest
import sqlalchemy as sa
from PIL import Image

from adapters.keys import KeyDestroyed
from adapters.storage import ObjectRef
from daemon.database import schema as t
from daemon.engine.tasks import TaskLoop
from daemon.steps.heatmaps import MOST_PICTURES
from pipelines.results import StudyResult
from tests.planted import search_bytes
from tests.steps.installation import Installation, another, image
from tests.system.radiographs import MadeUpPatient

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)  # nothing here turns on a lock
DESTINATIONS = ("reports",)


@pytest.fixture
def explaining(installation: Installation) -> Installation:
    installation.model.heat = [1.0, 0.3, 0.0]
    installation.model.scores = {key: [0.95, 0.04, 0.01] for key in installation.packages.by_version}
    return installation


def media(installation: Installation) -> list[dict]:
    document = installation.report()
    assert document is not None
    found = [entry["resource"] for entry in json.loads(document)["entry"]]
    return [resource for resource in found if resource["resourceType"] == "Media"]


def standing(installation: Installation) -> str:
    (study,) = installation.ask("studies.list")
    (row,) = installation.ask("studies.verify", study=study["study"])
    return str(row["standing"])


def test_the_picture_of_the_label_that_is_present_is_sealed_signed_and_reported(explaining: Installation):
    explaining.send(image())
    explaining.work()
    (explanation,) = explaining.result().explanations
    assert explanation.label == "Normal"
    ref = ObjectRef.parse(explanation.picture)
    raw = ref.path(explaining.node.store.root).read_bytes()
    assert b"PNG" not in raw
    _, picture = explaining.node.store.open(ref)
    opened = Image.open(BytesIO(picture))
    assert opened.size == (explanation.columns, explanation.rows)
    (shown,) = media(explaining)
    assert base64.b64decode(shown["content"]["data"]) == picture
    patient = MadeUpPatient(1)
    planted = (patient.patient_id, patient.family, patient.birth_date)
    assert not search_bytes(picture, planted, "the picture")
    assert standing(explaining) == "valid"
    with explaining.database.read() as connection:
        patient_id = connection.execute(sa.select(t.result.c.patient_id)).scalar_one()
    explaining.node.keys.destroy_patient(patient_id)
    with pytest.raises(KeyDestroyed):
        explaining.node.store.open(ref)


def test_where_no_label_is_present_the_likeliest_is_explained(explaining: Installation):
    explaining.model.scores = {key: [0.5, 0.44, 0.06] for key in explaining.packages.by_version}
    explaining.send(image())
    explaining.work("deidentify", "infer")
    (explanation,) = explaining.result().explanations
    assert explanation.label == "Normal"


def test_a_study_of_many_images_has_a_bounded_number_of_pictures(explaining: Installation):
    first = image()
    explaining.send(first, *(another(first, seed) for seed in range(20, 20 + MOST_PICTURES)))
    explaining.work()
    assert len(explaining.result().outcomes) == MOST_PICTURES + 1
    assert len(explaining.result().explanations) == MOST_PICTURES
    assert len({m["identifier"][0]["value"] for m in media(explaining)}) == MOST_PICTURES


def test_a_destination_that_wants_no_heatmaps_gets_none(explaining: Installation):
    (reports,) = explaining.settings.destinations
    unwanted = explaining.settings.model_copy(
        update={"destinations": (reports.model_copy(update={"heatmaps": False}),)}
    )
    context = replace(explaining.loop._context, node=replace(explaining.node, settings=unwanted))
    explaining.loop = TaskLoop(context, "worker")
    explaining.send(image())
    explaining.work()
    assert explaining.result().explanations
    assert media(explaining) == []


def test_a_picture_that_the_result_was_not_signed_with_is_not_reported(explaining: Installation):
    explaining.send(image())
    explaining.work("deidentify", "infer")
    result = explaining.result()
    (explanation,) = result.explanations
    with explaining.database.read() as connection:
        patient_id = connection.execute(sa.select(t.result.c.patient_id)).scalar_one()
    other = explaining.node.store.put_derived(explaining.node.keys.patient(patient_id), b"another picture")
    explaining.put_result(replace(result, explanations=(replace(explanation, picture=str(other)),)))
    assert standing(explaining) == "wrong"
    explaining.work()
    assert explaining.report() is None
    assert explaining.revisions() == ["undelivered"]


def test_a_result_without_explanations_is_stored_as_it_was_before_there_were_any(installation: Installation):
    installation.send(image())
    installation.work()
    result = installation.result()
    assert result.explanations == ()
    assert b"explanations" not in result.to_json()
    assert StudyResult.from_json(result.to_json()) == result
    assert standing(installation) == "valid"
    assert media(installation) == []
