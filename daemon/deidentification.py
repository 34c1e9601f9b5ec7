"""De-identifies as the settings say: which policy a pipeline or a destination has, and how a source's pixels are looked
at.

What is chosen is checked when the process starts. A detector of text is loaded once in each worker process, where it is
used.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anonymize import Option, PatientPseudonym, Policy, QuarantineReason, ReceivedInstance
from anonymize.pixels import DEFAULT_MARKERS, InvalidScript, Look, Markers, PixelScript, RapidOcrDetector, TextPolicy
from anonymize.pixels import read_script as parse_script
from daemon.settings import DicomDestination, Settings

if TYPE_CHECKING:
    from anonymize import Deidentified


class UnusableScript(Exception):
    """The script of pixel regions cannot be read, or is none; no part of it is used."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the instances of one source are de-identified for one pipeline or destination. Can be sent to a worker
    process.
    """

    policy: Policy
    text: TextPolicy
    script: str | None = None

    def apply(
        self, received: ReceivedInstance, patient: PatientPseudonym, accepted: Collection[QuarantineReason] = ()
    ) -> "Deidentified":
        """De-identify one instance; `accepted` as for `anonymize.deidentify`. Raises `anonymize.Quarantine`."""
        from anonymize import deidentify  # here, since the workers that run this need them, and no other process
        from anonymize.image_cleaning import PixelCleaning

        script = _parsed(self.script) if self.script is not None else None
        return deidentify(received, patient, self.policy, PixelCleaning(self.text, _detector(), script), accepted)


class Recipes:
    """The recipes of all pipelines, destinations and sources."""

    def __init__(self, settings: Settings) -> None:
        """Raises `UnusableScript`."""
        self._settings = settings
        self._script = _script_of(settings)
        self._policies: Mapping[str, Policy] = {
            name: settings.deidentification.policy_for(name) for name in settings.pipelines
        }
        self._policies_of_destinations: Mapping[str, Policy] = {
            destination.name: destination.deidentification.policy()
            for destination in settings.destinations
            if isinstance(destination, DicomDestination)
        }
        own = Markers.of(settings.deidentification.markers).words
        self._markers = Markers(DEFAULT_MARKERS | own)

    def of(self, pipeline: str, *sources: str, chosen: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe for a pipeline and an instance that came from `sources` (AE titles).

        `chosen` is the policy {options, year_only} that an operator chose instead; it retains nothing that the
        pipeline's own does not.
        """
        policy = self._policies[pipeline]
        if chosen is not None:
            own = Policy(frozenset(map(Option, chosen["options"])), chosen["year_only"])
            policy = own.within(policy)
        return self._recipe(policy, sources)

    def of_destination(self, destination: str, *sources: str) -> Recipe:
        """The recipe for a destination of kind `dicom` and an instance that came from `sources`."""
        return self._recipe(self._policies_of_destinations[destination], sources)

    def _recipe(self, policy: Policy, sources: tuple[str, ...]) -> Recipe:
        """Of several sources, the one that is trusted least says whether to look for text."""
        look = max((Look(self._settings.source_for(source).look_for_text) for source in sources), key=list(Look).index)
        return Recipe(policy, TextPolicy(look, self._markers), self._script)


def _script_of(settings: Settings) -> str | None:
    path = settings.deidentification.pixel_script
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
        _parsed(text)
    except OSError as error:
        raise UnusableScript(f"deidentification.pixel_script: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnusableScript(f"deidentification.pixel_script: {path} is no text in UTF-8") from None
    except InvalidScript as error:
        raise UnusableScript(f"deidentification.pixel_script: {path}: {error}") from None
    return text


@lru_cache(maxsize=4)
def _parsed(script: str) -> PixelScript:
    return parse_script(script)


@lru_cache(maxsize=1)
def _detector() -> RapidOcrDetector:
    return RapidOcrDetector(threads=1)
