"""Vouches for results: an Ed25519 signature (RFC 8032) over what a model was given, what it said, what was concluded.

The engine signs, with a key of its own (`runtime.result_key_file`) that the process which runs models never sees: a
model's code could not sign for another. What is signed is `pipelines.results.StudyResult.statement`, so a result can be
checked as long as it can be read, with the public key alone, also after the model has gone.
"""

import base64
import binascii
import functools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum, unique
from pathlib import Path

from daemon.audit import PublicKey, SigningKey
from pipelines.results import Attestation, StudyResult


@unique
class Standing(StrEnum):
    """What a check of a result comes to."""

    VALID = "valid"
    UNSIGNED = "unsigned"  # made before results were signed
    OTHER_KEY = "other-key"  # signed by another key than the one given: perhaps an earlier one
    WRONG = "wrong"  # the result or its signature was changed


def attest(result: StudyResult, outputs: Mapping[str, str], key: SigningKey, at: datetime) -> StudyResult:
    """The result with the digest of the model's output for each SOP Instance UID in `outputs`, signed."""
    outcomes = tuple(
        replace(outcome, output_sha256=outputs.get(outcome.sop_instance_uid)) for outcome in result.outcomes
    )
    moment = at.astimezone(UTC).isoformat(timespec="seconds")
    complete = replace(result, outcomes=outcomes, attestation=None)
    signature = base64.b64encode(key.sign(complete.statement(moment))).decode()
    return replace(complete, attestation=Attestation(moment, key.public.fingerprint, signature))


def verify_result(result: StudyResult, key: PublicKey) -> Standing:
    """Check a result against the public key of those who sign."""
    found = result.attestation
    if found is None:
        return Standing.UNSIGNED
    if found.key != key.fingerprint:
        return Standing.OTHER_KEY
    try:
        signature = base64.b64decode(found.signature, validate=True)
    except (binascii.Error, ValueError):
        return Standing.WRONG
    return Standing.VALID if key.signed(signature, result.statement(found.at)) else Standing.WRONG


@functools.cache
def result_key(path: Path) -> SigningKey:
    """The key in this file, made where there is none. Raises `daemon.audit.SigningKeyError`."""
    return SigningKey.load_or_create(path)
