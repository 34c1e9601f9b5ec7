"""The order of system calls: fsync(file), rename, fsync(directory), and only then the success response."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.dcmtk import Dcmtk
from tests.receiver.instances import ct, write_file
from tests.receiver.receivers import Receivers
from tests.receiver.system_calls import STRACE, NotDurable, prove_durable

pytestmark = [pytest.mark.strace, pytest.mark.dcmtk]


def traced_run(
    make_receivers: Callable[..., Receivers], folder: Path, **options: object
) -> tuple[str, Receivers, set[str]]:
    """Receive two associations' instances under a tracer: the trace, the receivers, the SOP Instance UIDs."""
    receivers = make_receivers(objects_per_batch=4, **options)
    trace = folder / "trace"
    receivers.start(prefix=[*STRACE, "-o", str(trace)])
    data_sets = [ct(size=128, number=number) for number in range(12)]
    files = [write_file(folder / f"{number}.dcm", data_set) for number, data_set in enumerate(data_sets)]
    for part in (files[:5], files[5:]):
        Dcmtk()("storescu", "-aec", "KOPRU", "127.0.0.1", receivers.port, *part)
    receivers.stop()
    return trace.read_text(), receivers, {str(data_set.SOPInstanceUID) for data_set in data_sets}


def test_every_success_is_written_after_file_name_and_folder_are_durable(
    make_receivers: Callable[..., Receivers], tmp_path: Path
) -> None:
    trace, receivers, sent = traced_run(make_receivers, tmp_path)
    proven = prove_durable(trace, receivers.root / "store")
    assert sorted(proven) == sorted(sent)
    assert receivers.instances().keys() == sent


@pytest.mark.parametrize("mutation", ["no fsync", "no fsync of folders"])
def test_the_proof_fails_without_an_fsync(
    make_receivers: Callable[..., Receivers], tmp_path: Path, mutation: str
) -> None:
    trace, receivers, _ = traced_run(make_receivers, tmp_path, mutations=[mutation])
    with pytest.raises(NotDurable):
        prove_durable(trace, receivers.root / "store")
