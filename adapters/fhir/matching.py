"""Finds the one Patient at a FHIR server that a report is about, or says why a person must look. Never guesses.

A Patient is taken only where all of this holds; the first that does not is the reason:

1. the PACS gave a Patient ID, and its issuer has an identifier system in the destination's settings;
2. the server has exactly one Patient that carries system and value, letter for letter;
3. that Patient is active, not replaced by another, and has an id;
4. its birth date and its name do not contradict what the PACS said; what is missing on one side contradicts nothing.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.fhir.exchanges import Answer, Flow, Search
from adapters.fhir.retry import failure
from adapters.fhir.searchset import has_more, matches
from adapters.fhir.subjects import MatchedPatient, PatientMatch
from adapters.outcomes import Held, Retry
from pipelines.identity import PatientIdentity

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_PARTIAL_DATE = re.compile(r"\d{4}(-\d{2}){0,2}", re.ASCII)
_RESERVED = str.maketrans({character: f"\\{character}" for character in "\\$,|"})
_NO_NAMES: frozenset[str] = frozenset({"Patient", "identifier"})


def match_flow(identity: PatientIdentity, systems: Mapping[str, str], setting: str) -> Flow[PatientMatch]:
    """Ask the server for the patient; `systems` maps an issuer to the system of the FHIR identifier, and is the value
    of `setting`.
    """
    value = identity.patient_id.strip()
    if not value:
        return Held("the study has no Patient ID, so no patient can be looked up")
    system = systems.get(identity.issuer)
    if system is None:
        return Held(
            f"the issuer of the Patient ID has no identifier system: add it to {setting} in the settings, reload them,"
            " and process the study again"
        )
    reply = yield Search("Patient", {"identifier": f"{system}|{escaped(value)}"})
    if failed := failure(reply, _NO_NAMES):
        return failed
    assert isinstance(reply, Answer)
    found = matches(reply, "Patient", system, value)
    if found is None:
        return Retry("the server answered a search with something else than a searchset", reply.status)
    if len(found) > 1 or (found and has_more(reply)):
        return Held("several patients at the destination carry the identifier")
    if not found:
        return Held(f"no patient at the destination carries the identifier; its system is by {setting} in the settings")
    return _judged(found[0], identity, system, value)


def escaped(value: str) -> str:
    r"""A value within a search parameter: ``\``, ``$``, ``,`` and ``|`` would else end it (FHIR R4 3.1.1.4.4)."""
    return value.translate(_RESERVED)


def _judged(patient: Mapping[str, Any], identity: PatientIdentity, system: str, value: str) -> PatientMatch:
    patient_id = patient.get("id")
    if not isinstance(patient_id, str) or not _ID.fullmatch(patient_id):
        return Held("the patient at the destination has no id")
    if patient.get("active") is False:
        return Held("the patient's record at the destination is not active")
    links = _objects(patient.get("link"))
    if any(link.get("type") == "replaced-by" for link in links):
        return Held("the patient's record at the destination was replaced by another")
    if birth_dates_contradict(identity.birth_date, patient.get("birthDate")):
        return Held("the birth date at the destination contradicts the study's")
    if names_contradict(identity.name, _objects(patient.get("name"))):
        return Held("the name at the destination contradicts the study's")
    return MatchedPatient(f"Patient/{patient_id}", system, value)


def birth_dates_contradict(dicom: str, fhir: Any) -> bool:
    """Compare a DA (``YYYYMMDD``) with a FHIR date (``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``) as far as both go.

    What is no date on either side says nothing.
    """
    if not isinstance(fhir, str) or not _PARTIAL_DATE.fullmatch(fhir) or not re.fullmatch(r"[0-9]{8}", dicom):
        return False
    return not dicom.startswith(fhir.replace("-", ""))


def names_contradict(dicom: str, fhir: Iterable[Mapping[str, Any]]) -> bool:
    """Whether no component group of the PN agrees with any of the names. Without a name on one side nothing does."""
    told = [(_words(family), _words(given)) for family, given in map(_family_and_given, dicom.split("="))]
    known = [_family_and_given_words(name) for name in fhir]
    told, known = ([name for name in names if any(name)] for names in (told, known))
    if not told or not known:
        return False
    return not any(_agree(a[0], b[0]) and _agree(a[1], b[1]) for a in told for b in known)


def _family_and_given(group: str) -> tuple[str, str]:
    """PS3.5 6.2.1: family ^ given ^ middle ^ prefix ^ suffix."""
    family, given, middle = [*group.split("^"), "", ""][:3]
    return family, f"{given} {middle}"


def _family_and_given_words(name: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The words of a HumanName; one that is only a text does not say which is which, so all its words count as both."""
    family, given = _words(_text(name.get("family"))), _words(" ".join(_texts(name.get("given"))))
    text = _words(_text(name.get("text"))) if not family and not given else frozenset()
    return family or text, given or text


def _agree(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether all words of the shorter one have their like in the other: the same word, or an initial of it."""
    fewer, more = sorted((a, b), key=len)
    return all(any(_alike(word, other) for other in more) for word in fewer)


def _alike(a: str, b: str) -> bool:
    initial, word = sorted((a, b), key=len)
    # Latin letters only: a Chinese name of one character is a whole name.
    return a == b or (len(initial) == 1 and initial.isascii() and word.startswith(initial))


def _words(text: str) -> frozenset[str]:
    """The words of a name without case, accents and punctuation; the Turkish dotless i counts as i, as in most PACS."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("ı", "i"))
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return frozenset(letters.split())


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
