"""A de-identified instance is its bytes: however it was put together, and in whatever process."""

import pickle
from dataclasses import replace

from pydicom.dataset import Dataset

from anonymize import DeidentifiedInstance, deidentify
from tests.anonymize.encoded import PATIENT, encoded, identified, received

PIXELS = bytes(range(256)) * 1024


def large() -> Dataset:
    ds = identified()
    ds.Rows = ds.Columns = 512 if ds.BitsAllocated == 8 else 362
    ds.PixelData = PIXELS[: ds.Rows * ds.Columns * ds.BitsAllocated // 8]
    ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
    return ds


def test_what_did_not_change_is_not_copied() -> None:
    data = encoded(large())
    instance = deidentify(received(data), PATIENT).instance
    views = [piece for piece in instance.pieces if isinstance(piece, memoryview) and piece.obj is data]
    assert sum(map(len, views)) >= len(large().PixelData)
    assert len(instance.pieces) <= 3


def test_the_kept_form_is_read_back() -> None:
    instance = deidentify(received(encoded(large())), PATIENT).instance
    kept = b"".join(instance.kept_form())
    assert kept == instance.to_bytes()
    again = DeidentifiedInstance.from_bytes(kept)
    assert again == instance
    assert (again.file, hash(again)) == (instance.file, hash(instance))


def test_nothing_of_the_received_instance_goes_with_it_to_another_process() -> None:
    data = encoded(large())
    instance = deidentify(received(data), PATIENT).instance
    assert b"PID-4471902" in data
    pickled = pickle.dumps(instance)
    assert b"PID-4471902" not in pickled
    assert pickle.loads(pickled) == instance


def test_other_bytes_or_other_uids_make_another_instance() -> None:
    instance = deidentify(received(encoded(large())), PATIENT).instance
    assert instance != replace(instance, sop_instance_uid="2.25.1")
    assert instance != replace(instance, pieces=(*instance.pieces, b"\0\0"))
    assert instance == replace(instance, pieces=(instance.file,))
    assert instance != instance.file
