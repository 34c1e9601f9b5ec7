"""`kopru deidentify`: de-identify files without a daemon, under a key file that keeps pseudonyms, UIDs and shifted
dates consistent.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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
from anonymize.pixels import InvalidScript, Look, TextPolicy, read_script
from daemon.cli.files import NotDicom, read_instance, walk_files
from daemon.cli.options import FAILED, QUARANTINED_OR_HELD, Json
from daemon.cli.output import fail, print_json, print_table, say
from daemon.deidentification import Recipe


def deidentify(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", exists=True)],
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
        Look, typer.Option(help="With clean-pixel-data: whether to look for burned-in text.")
    ] = Look.WHEN_SUSPECT,
    pixel_script: Annotated[
        Path | None, typer.Option(help="A DicomPixelAnonymizer.script of CTP: regions to blank by device.", exists=True)
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for each element what happens to it and why, showing no value.")
    ] = False,
    json: Json = False,
) -> None:
    """De-identify DICOM files by PS3.15: the Basic Profile and what options add to it. Exits with 3 if any could not be
    proven clean.
    """
    if (out is None) is not explain:
        raise typer.BadParameter("say where to write to with --out, or ask with --explain")
    recipe = _recipe(option or [], year_only, look_for_text, pixel_script)
    files = walk_files(paths)
    results = [_explained(path, recipe) for path in files] if out is None else _written(files, recipe, key, out)
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


def _written(files: list[Path], recipe: Recipe, key: Path, out: Path) -> list[dict[str, Any]]:
    try:
        master = MasterKey.from_file(key) if key.exists() else MasterKey.create_file(key.absolute())
    except MasterKeyError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [_one(path, recipe, out, master) for path in files]


def _outcome(path: Path, work: Callable[[ReceivedInstance], dict[str, Any]]) -> dict[str, Any]:
    """What `work` makes of one file; what went wrong is a value of the row."""
    row: dict[str, Any] = {"file": str(path), "outcome": "deidentified", "reason": None}
    try:
        return row | work(read_instance(path))
    except Quarantine as error:
        return row | {"outcome": "quarantined", "reason": str(error.reason.value)}
    except MalformedDataSet as error:
        return row | {"outcome": "quarantined", "reason": str(error)}
    except (NotDicom, OSError) as error:
        return row | {"outcome": "unreadable", "reason": getattr(error, "strerror", None) or str(error)}


def _one(path: Path, recipe: Recipe, out: Path, master: MasterKey) -> dict[str, Any]:
    """De-identify one file and write it."""

    def work(received: ReceivedInstance) -> dict[str, Any]:
        header = read_header(received.data_set, received.transfer_syntax_uid)
        instance = recipe.apply(received, pseudonym_for(header, master)).instance
        target = out / f"{instance.sop_instance_uid}.dcm"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for piece in instance.pieces:
                write_all(descriptor, piece)
        finally:
            os.close(descriptor)
        return {"output": str(target)}

    return {"output": None} | _outcome(path, work)


def _explained(path: Path, recipe: Recipe) -> dict[str, Any]:
    """What would be done to each element of one file. Shows no value, so any key will do."""

    def work(received: ReceivedInstance) -> dict[str, Any]:
        result = recipe.apply(received, PatientPseudonym("EXPLAINED", bytes(32), 1))
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
    patient = header.patient_id.strip()
    scope = f"{header.issuer_of_patient_id}\0{patient}" if patient else f"study\0{header.study_instance_uid}"
    digest = hmac.new(master.subkey("deidentify files"), scope.encode(), hashlib.sha256).digest()
    uid_key = hmac.new(master.subkey("deidentify uids"), scope.encode(), hashlib.sha256).digest()
    days = 30 + int.from_bytes(digest[16:20], "big") % 3621
    return PatientPseudonym(f"KP-{digest[:8].hex().upper()}", uid_key, days if digest[20] & 1 else -days)
