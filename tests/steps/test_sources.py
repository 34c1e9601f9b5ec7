"""Whether an instance is looked at for text is a matter of who sent it, not of who opened its study."""

import pytest

from daemon.deidentification import Recipe
from tests.steps.corrections import of
from tests.steps.installation import Association, Installation, Make, another, image
from tests.system.radiographs import MadeUpPatient

LOOKS = {"TRUSTED": "never", "USUAL": "when-suspect", "WORST": "always"}


@pytest.fixture
def looking(make: Make) -> Installation:
    own = {"issuer": "test-hospital", "settle_seconds": 0.0}
    return make(sources=[{"ae_title": name, "look_for_text": look} | own for name, look in LOOKS.items()])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each instance was looked at, in the order of the work."""
    asked: list[str] = []
    apply = Recipe.apply

    def noted(recipe: Recipe, *arguments: object) -> object:
        asked.append(str(recipe.text.look))
        return apply(recipe, *arguments)

    monkeypatch.setattr(Recipe, "apply", noted)
    return asked


def send(installation: Installation, source: str, *data_sets: object) -> None:
    association = Association(installation, calling_ae=source)
    for data_set in data_sets:
        association.store(data_set)
    association.release()
    installation.indexer.pass_once()


def test_each_instance_is_looked_at_as_its_own_source_says(looking: Installation, looks: list[str]) -> None:
    first = image()
    send(looking, "TRUSTED", first)
    send(looking, "USUAL", another(first))
    looking.work()
    assert looks == ["never", "when-suspect"]


def test_of_several_sources_of_an_instance_the_strictest_counts(looking: Installation, looks: list[str]) -> None:
    first = image()
    send(looking, "TRUSTED", first)
    send(looking, "WORST", first)
    send(looking, "USUAL", first)
    looking.work()
    assert looks == ["always"]


def test_a_study_of_sources_with_two_issuers_is_held_and_the_reason_says_where_issuers_are_set(make: Make):
    own = {"settle_seconds": 0.0}
    installation = make(sources=[own | {"ae_title": "WARD", "issuer": "a"}, own | {"ae_title": "PACS", "issuer": "b"}])
    first = image()
    send(installation, "WARD", first)
    send(installation, "PACS", another(first))
    assert installation.revisions()[-1] == "held"
    assert "let them have one `issuer` in [[sources]]" in installation.shown()["revisions"][-1]["reason"]


def test_a_study_of_two_patients_from_one_source_says_nothing_of_issuers(installation: Installation):
    first = image()
    installation.send(first)
    installation.send(of(MadeUpPatient(2), another(first)))
    assert installation.revisions()[-1] == "held"
    assert "issuer" not in installation.shown()["revisions"][-1]["reason"]
