"""What comes out is as valid as what went in: `dciodvfy` of dicom3tools finds no error that the input lacked.

The inputs are the files that pydicom ships, under the Basic Profile, all options that go together, and (at length) each
option alone. An input that the verifier
cannot read (a deflated one) is judged as its inflated form.
"""

import re
import subprocess
from functools import cache
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.uid import ExplicitVRLittleEndian

from anonymize import BASIC, Option, Policy, Quarantine, deidentify
from daemon.cli.files import NotDicom, read_instance
from tests.anonymize.encoded import PATIENT
from tests.peers.availability import command

pytestmark = pytest.mark.dciodvfy

ALONE = [option for option in Option if option is not Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES]
TOGETHER = frozenset(ALONE) - {Option.CLEAN_PIXEL_DATA, Option.RETAIN_LONGITUDINAL_FULL_DATES}
POLICIES = {
    "basic": BASIC,
    "year only": Policy(year_only=True),
    "options together": Policy(TOGETHER),
    **{option.value: Policy(frozenset({option})) for option in ALONE},
}


def errors(path: Path) -> set[str]:
    """The kinds of error, without the values they quote."""
    program = command("dciodvfy")
    assert program is not None
    said = subprocess.run([program, path], capture_output=True).stderr.decode("utf-8", "replace")
    lines = (line for line in said.splitlines() if line.startswith("Error"))
    return {re.sub(r"= ?<[^>]*>$|\b[0-9.]+$|<[^<>]*[a-z0-9.^ ]+[^<>]*>$", "", line) for line in lines}


@cache
def inputs() -> tuple[Path, ...]:
    found = []
    for path in sorted(Path(name) for name in get_testdata_files("*.dcm")):
        try:
            read_instance(path)
        except (NotDicom, OSError):
            continue
        found.append(path)
    return tuple(found)


@cache
def errors_before(path: Path, folder: Path) -> set[str]:
    if not read_instance(path).transfer_syntax_uid.endswith(".99"):
        return errors(path)
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(folder / "inflated.dcm")
    return errors(folder / "inflated.dcm")


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(policy, id=name, marks=[pytest.mark.soak] if name in set(Option) else [])
        for name, policy in POLICIES.items()
    ],
)
def test_no_policy_makes_an_instance_less_valid(policy: Policy, tmp_path: Path) -> None:
    checked, worse = 0, {}
    for path in inputs():
        try:
            made = deidentify(read_instance(path), PATIENT, policy)
        except Quarantine:
            continue
        out = tmp_path / "out.dcm"
        out.write_bytes(made.instance.file)
        if new := errors(out) - errors_before(path, tmp_path):
            worse[path.name] = sorted(new)
        checked += 1
    assert checked > 15
    assert not worse
