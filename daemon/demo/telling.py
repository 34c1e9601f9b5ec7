"""Tells on the terminal what the demo did: what was removed, what the model said, where the report is.

It may show values, since the patient of the phantom is nobody; no other part of kopru ever prints one.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from pydicom.datadict import dictionary_description
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from rich import box
from rich.table import Table
from rich.text import Text

from adapters.fhir.conclusion import percent
from anonymize import Action, Decision, PatientPseudonym, ReceivedInstance, deidentify
from daemon.cli.output import console, say

_WIDTH: Final = 30
_LONGEST: Final = 24  # characters of a value, so that three columns fit a terminal of 80
_SHOWN_TAGS: Final = (
    0x00100010, 0x00100020, 0x00100030, 0x00101000, 0x00101040, 0x00102154, 0x00080050, 0x00080080, 0x00080090,
    0x00081030, 0x00080020, 0x0020000D, 0x00204000,
)  # fmt: skip


def tell(
    reports: Path, study: Sequence[Dataset], shown: dict[str, Any], verified: dict[str, Any], *, seconds: float
) -> None:
    """Print the demo's outcome."""
    console.print()
    _tell_removed(study[0], shown["pseudonym"])
    console.print()
    document = next(iter(sorted(reports.glob("*.json"))))
    bundle = json.loads(document.read_bytes())
    _tell_model(bundle)
    heatmaps = _write_heatmaps(bundle, reports.parent)
    page = document.with_suffix(".html")
    say()
    say(("Report       ", "bold"), str(page))
    say(("FHIR Bundle  ", "bold"), str(document))
    for title, file in heatmaps:
        say(("Heatmap      ", "bold"), str(file))
        say("             ", (f"{title}; in the report, too", "dim"))
    say(("Audit log    ", "bold"), f"{verified['size']} records, each verified against the signed Merkle log")
    say(("Time         ", "bold"), f"{seconds:.1f} s from nothing to the report")


def _tell_removed(image: Dataset, pseudonym: str) -> None:
    """The best-known attributes before and after, and how many others went."""
    clean, trail = _deidentified(image, pseudonym)
    table = Table(title="What the model did not see", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("attribute", "received", "passed on"):
        table.add_column(heading, no_wrap=True)
    for tag in _SHOWN_TAGS:
        if tag in image:
            after = Text(_short(clean[tag].value) or "emptied", "green") if tag in clean else Text("removed", "red")
            table.add_row(dictionary_description(tag), Text(_short(image[tag].value), "yellow"), after)
    console.print(table)
    counted = {action: sum(decision.action is action for decision in trail) for action in Action}
    summary = ", ".join(f"{number} {action.value}" for action, number in counted.items() if number)
    console.print(Text(f"{len(trail)} elements at every depth: {summary}", "dim"))


def _deidentified(image: Dataset, pseudonym: str) -> tuple[Dataset, tuple[Decision, ...]]:
    """The image as the daemon's own function makes it clean; UIDs differ from the daemon's, whose key is sealed."""
    from io import BytesIO

    from pydicom import dcmread

    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = True, False
    write_dataset(encoded, image)
    received = ReceivedInstance(
        str(image.SOPClassUID), str(image.SOPInstanceUID), str(image.file_meta.TransferSyntaxUID), encoded.getvalue()
    )
    answer = deidentify(received, PatientPseudonym(pseudonym, bytes(32), 30))
    return dcmread(BytesIO(answer.instance.file)), answer.trail


def _tell_model(bundle: dict[str, Any]) -> None:
    resources = [entry["resource"] for entry in bundle["entry"]]
    table = Table(title="What the model said", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("finding", no_wrap=True)
    table.add_column("probability", no_wrap=True, justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("threshold", no_wrap=True, justify="right")
    for name, probability, threshold in _findings(resources):
        filled = round(probability * _WIDTH)
        colour = "cyan" if probability < threshold else "magenta"
        bar = Text("█" * filled, colour) + Text("·" * (_WIDTH - filled), "dim")
        table.add_row(name, percent(probability), bar, percent(threshold))
    console.print(table)
    report = next(resource for resource in resources if resource["resourceType"] == "DiagnosticReport")
    console.print(Text(report["conclusion"], "dim"))
    console.print(
        Text("The images are drawings and show nobody: what a model says about them means nothing.", "yellow")
    )


def _write_heatmaps(bundle: dict[str, Any], folder: Path) -> list[tuple[str, Path]]:
    """The report's pictures as files beside it: what each shows, and where it is."""
    contents = [
        entry["resource"]["content"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Media"
    ]
    written = []
    for number, content in enumerate(contents, 1):
        file = folder / f"heatmap-{number}.png"
        file.write_bytes(base64.b64decode(content["data"]))
        written.append((content["title"].removeprefix("Heatmap: "), file))
    return written


def _findings(resources: list[dict[str, Any]]) -> Iterator[tuple[str, float, float]]:
    for resource in resources:
        if resource["resourceType"] == "Observation":
            numbers = [c["valueQuantity"]["value"] for c in resource["component"] if "valueQuantity" in c]
            yield resource["code"]["text"], numbers[0], numbers[1]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
