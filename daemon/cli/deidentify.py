"""`kopru deidentify`: de-identify DICOM and FHIR files without a daemon, under a key file that keeps pseudonyms, UIDs
and shifted dates consistent.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from pydicom.datadict import dictionary_description, dictionary_has_tag

from adapters.durable_files import write_all
from adapters.keys import MasterKey, MasterKeyError
from anonymize import (
    Header,
    InvalidPolicy,
    MalformedDataSet,
    Option,
    PatientPseudonym,
    Policy,
    Quarantine,
    ReceivedInstance,
    read_header,
)
from anonymize.fhir import FhirRules, InvalidRules
from anonymize.pixels import InvalidScript, Look, TextPolicy, read_script
from daemon.cli.deidentify_fhir import EXPLAINED, FhirRecipe, Row, read_rules
from daemon.cli.fhir_files import is_json
from daemon.cli.fhir_subjects import Subjects, patient_scope
from daemon.cli.files import NotDicom, read_instance, walk_files
from daemon.cli.options import FAILED, QUARANTINED_OR_HELD, Json
from daemon.cli.output import fail, print_json, print_table, say, warn
from daemon.deidentification import Recipe

_TWO_PSEUDONYMS: Final = (
    "FHIR files and images have the same Patient ID, and the images name another issuer of it than --issuer says: such"
    " a patient has two pseudonyms in the output. If they are one patient, do it again with the images' Issuer of"
    " Patient ID (0010,0021) as --issuer"
)


def deidentify(
    paths: Annotated[list[Path], typer.Argument(help="DICOM and FHIR JSON files, or folders of them.", exists=True)],
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write to; files are named by their new UIDs.")
    ] = None,
    key: Annotated[
        Path,
        typer.Option(help="The key file; made if absent. The same key gives the same pseudonyms. Keep it secret."),
    ] = Path("kopru-deidentify.key"),
    option: Annotated[
        list[str] | None, typer.Option(help="An option of PS3.15 E.3, such as clean-pixel-data; may be repeated.")
    ] = None,
    year_only: Annotated[bool, typer.Option("--year-only", help="Keep the year of dates.")] = False,
    look_for_text: Annotated[
        Look,
        typer.Option(
            metavar="WHEN", help=f"With clean-pixel-data: when to look for burned-in text: {', '.join(Look)}."
        ),
    ] = Look.WHEN_SUSPECT,
    pixel_script: Annotated[
        Path | None,
        typer.Option(help="A script of CTP's DicomPixelAnonymizer: regions to blank by device.", exists=True),
    ] = None,
    fhir_rules: Annotated[
        Path | None,
        typer.Option(
            help="For FHIR: rules in TOML, or a configuration of Microsoft's FHIR anonymizer; Safe Harbor without.",
            exists=True,
        ),
    ] = None,
    patient_system: Annotated[
        str | None,
        typer.Option(
            help="For FHIR: the system of the identifier that is the Patient ID in DICOM; else that of type MR."
        ),
    ] = None,
    issuer: Annotated[
        str, typer.Option(help="For FHIR: the Issuer of Patient ID that the DICOM files name, if they do.")
    ] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for each element what happens to it and why, showing no value.")
    ] = False,
    json: Json = False,
) -> None:
    """De-identify DICOM files by PS3.15, and FHIR R4 resources by HIPAA Safe Harbor or rules of your own.

    Of PS3.15: the Basic Profile and what options add to it. FHIR comes in JSON or NDJSON. Exits with 3 if any could not
    be proven clean.
    """
    if (out is None) is not explain:
        raise typer.BadParameter("say where to write to with --out, or ask with --explain")
    recipe = _recipe(option or [], year_only, look_for_text, pixel_script)
    fhir = FhirRecipe(_fhir_rules(fhir_rules), Subjects(patient_system, issuer))
    files = walk_files(paths)
    results = _all_explained(files, recipe, fhir) if out is None else _written(files, recipe, fhir, key, out)
    if json:
        print_json(results)
    elif explain:
        for result in results:
            rows = result["elements"]
            print_table(rows, ("element", "name", "action", "rule"), title=result["file"], empty=result["reason"] or "")
    else:
        print_table(results, ("outcome", "file", "output", "reason"), empty="no files", first_to_go=("output",))
        say(f"key: {key}")
    outcomes = {result["outcome"] for result in results}
    if "quarantined" in outcomes:
        raise typer.Exit(QUARANTINED_OR_HELD)
    if not results or "unreadable" in outcomes:
        raise typer.Exit(FAILED)


def _recipe(options: list[str], year_only: bool, look: Look, script: Path | None) -> Recipe:
    try:
        chosen = frozenset(Option(name) for name in options)
    except ValueError:
        raise typer.BadParameter(f"one of: {', '.join(Option)}", param_hint="--option") from None
    try:
        text = script.read_text("utf-8") if script else None
        if text is not None:
            read_script(text)
        return Recipe(Policy(chosen, year_only), TextPolicy(look), text)
    except InvalidPolicy as error:
        raise typer.BadParameter(str(error), param_hint="--option") from None
    except (InvalidScript, OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{script}: {error}", param_hint="--pixel-script") from None


def _fhir_rules(path: Path | None) -> FhirRules:
    try:
        return read_rules(path)
    except (InvalidRules, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--fhir-rules") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path}: is not UTF-8", param_hint="--fhir-rules") from None


def _all_explained(files: list[Path], recipe: Recipe, fhir: FhirRecipe) -> list[Row]:
    rows: list[Row] = []
    for path in files:
        rows += fhir.explain(path) if is_json(path) else [_explained(path, recipe)]
    return rows


def _written(files: list[Path], recipe: Recipe, fhir: FhirRecipe, key: Path, out: Path) -> list[Row]:
    try:
        master = MasterKey.from_file(key) if key.exists() else MasterKey.create_file(key.absolute())
    except MasterKeyError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    fhir.learn(path for path in files if is_json(path))
    rows: list[Row] = []
    for path in files:
        in_json = is_json(path)
        if in_json:
            rows += fhir.write(path, out, partial(_pseudonym_of, master))
        else:
            rows.append(_one(path, recipe, out, master, fhir.subjects))
    if fhir.subjects.differ_by_issuer():
        warn(_TWO_PSEUDONYMS)
    return rows


def _outcome(path: Path, work: Callable[[ReceivedInstance], Row]) -> Row:
    """What `work` makes of one file; what went wrong is a value of the row."""
    row: Row = {"file": str(path), "outcome": "deidentified", "reason": None}
    try:
        return row | work(read_instance(path))
    except Quarantine as error:
        return row | {"outcome": "quarantined", "reason": str(error.reason.value)}
    except MalformedDataSet as error:
        return row | {"outcome": "quarantined", "reason": str(error)}
    except (NotDicom, OSError) as error:
        return row | {"outcome": "unreadable", "reason": getattr(error, "strerror", None) or str(error)}


def _one(path: Path, recipe: Recipe, out: Path, master: MasterKey, subjects: Subjects) -> Row:
    """De-identify one file and write it."""

    def work(received: ReceivedInstance) -> Row:
        header = read_header(received.data_set, received.transfer_syntax_uid)
        instance = recipe.apply(received, pseudonym_for(header, master)).instance
        subjects.learn_image(header.issuer_of_patient_id, header.patient_id)
        target = out / f"{instance.sop_instance_uid}.dcm"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for piece in instance.pieces:
                write_all(descriptor, piece)
        finally:
            os.close(descriptor)
        return {"output": str(target)}

    return {"output": None} | _outcome(path, work)


def _explained(path: Path, recipe: Recipe) -> Row:
    """What would be done to each element of one file. Shows no value, so any key will do."""

    def work(received: ReceivedInstance) -> Row:
        result = recipe.apply(received, EXPLAINED)
        elements = [
            {"element": made.where, "name": _name(made.path[-1]), "action": str(made.action), "rule": made.reason}
            for made in result.trail
        ]
        text = result.text._asdict() if result.text else None
        return {"elements": elements, "blanked_regions": len(result.blanked), "text": text}

    return {"elements": []} | _outcome(path, work)


def _name(tag: int) -> str:
    """An attribute's name in PS3.6; a private one has none that may be shown."""
    return dictionary_description(tag) if dictionary_has_tag(tag) else ""


def pseudonym_for(header: Header, master: MasterKey) -> PatientPseudonym:
    """A pseudonym that the key file and the patient decide, there being no vault: the same for all files of the
    patient.

    Without a Patient ID, each study is a patient of its own. Whoever has the key file can test a guess of who it is.
    """
    if header.patient_id.strip():
        return _pseudonym_of(master, patient_scope(header.issuer_of_patient_id, header.patient_id))
    return _pseudonym_of(master, f"study\0{header.study_instance_uid}")


def _pseudonym_of(master: MasterKey, scope: str) -> PatientPseudonym:
    name = scope.encode("utf-8", "surrogatepass")  # JSON lets halves of surrogate pairs through
    digest = hmac.new(master.subkey("deidentify files"), name, hashlib.sha256).digest()
    uid_key = hmac.new(master.subkey("deidentify uids"), name, hashlib.sha256).digest()
    days = 30 + int.from_bytes(digest[16:20], "big") % 3621
    return PatientPseudonym(f"KP-{digest[:8].hex().upper()}", uid_key, days if digest[20] & 1 else -days)
