"""`kopru deidentify`: de-identify files without a daemon, under a key file that keeps pseudonyms and UIDs consistent
from call to call. Dates are not shifted: the Basic Profile (PS3.15 E.2) removes, empties or replaces them.
"""

import hashlib
import hmac
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.durable_files import write_all
from adapters.keys import MasterKey, MasterKeyError
from anonymize import Header, MalformedDataSet, PatientPseudonym, Quarantine, read_header
from anonymize import deidentify as deidentify_instance
from daemon.cli.files import NotDicom, read_instance, walk_files
from daemon.cli.options import FAILED, QUARANTINED_OR_HELD, Json
from daemon.cli.output import console, fail, print_json, print_table


def deidentify(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", exists=True)],
    out: Annotated[Path, typer.Option("--out", help="The folder to write to; files are named by their new UIDs.")],
    key: Annotated[
        Path,
        typer.Option(help="The key file; made if absent. The same key gives the same pseudonyms. Keep it secret."),
    ] = Path("kopru-deidentify.key"),
    json: Json = False,
) -> None:
    """De-identify DICOM files by PS3.15 (Basic Profile). Exits with 3 if any could not be proven clean."""
    try:
        master = MasterKey.from_file(key) if key.exists() else MasterKey.create_file(key.absolute())
    except MasterKeyError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    results = [_one(path, out, master) for path in walk_files(paths)]
    if json:
        print_json(results)
    else:
        print_table(results, ("file", "outcome", "reason", "output"), empty="no files")
        console.print(f"key: {key}")
    outcomes = {result["outcome"] for result in results}
    if "quarantined" in outcomes:
        raise typer.Exit(QUARANTINED_OR_HELD)
    if not results or "unreadable" in outcomes:
        raise typer.Exit(FAILED)


def _one(path: Path, out: Path, master: MasterKey) -> dict[str, Any]:
    """De-identify one file; what went wrong is a value of the row."""
    row: dict[str, Any] = {"file": str(path), "outcome": "deidentified", "reason": None, "output": None}
    try:
        received = read_instance(path)
        header = read_header(received.data_set, received.transfer_syntax_uid)
        instance = deidentify_instance(received, pseudonym_for(header, master)).instance
    except Quarantine as error:
        return row | {"outcome": "quarantined", "reason": str(error.reason.value)}
    except MalformedDataSet as error:
        return row | {"outcome": "quarantined", "reason": str(error)}
    except (NotDicom, OSError) as error:
        return row | {"outcome": "unreadable", "reason": getattr(error, "strerror", None) or str(error)}
    target = out / f"{instance.sop_instance_uid}.dcm"
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, instance.file)
    finally:
        os.close(descriptor)
    return row | {"output": str(target)}


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
