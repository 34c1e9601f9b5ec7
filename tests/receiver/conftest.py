"""Receivers to send to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.receiver.receiver_process import ReceiverOptions
from tests.receiver.receivers import Receivers


@pytest.fixture
def make_receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Receivers]]:
    """Makes receivers with options; nothing is started yet."""
    made: list[Receivers] = []

    def make(root: Path | None = None, **options: object) -> Receivers:
        receivers = Receivers(root or tmp_path_factory.mktemp("receivers"), ReceiverOptions(root="", **options))  # type: ignore[arg-type]
        made.append(receivers)
        return receivers

    yield make
    for receivers in made:
        receivers.close()


@pytest.fixture
def receivers(make_receivers: Callable[..., Receivers]) -> Receivers:
    """One receiver that serves."""
    one = make_receivers()
    one.start()
    return one


@pytest.fixture(scope="module")
def shared_receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    """One receiver for all tests of a module: for those that leave it as it was."""
    one = Receivers(
        tmp_path_factory.mktemp("receivers"),
        ReceiverOptions(
            root="", request_timeout_seconds=1.0, network_timeout_seconds=2.0, maximum_object_bytes=1 << 20
        ),
    )
    one.start()
    yield one
    one.close()
