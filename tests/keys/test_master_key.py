"""The master key: where it may come from, and what is derived from it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.keys import MasterKey, MasterKeyError


def test_a_created_key_is_read_back_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    created = MasterKey.create_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert MasterKey.from_file(path).lookup_tag("patient", "x") == created.lookup_tag("patient", "x")


def test_an_existing_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    MasterKey.create_file(path)
    before = path.read_bytes()
    with pytest.raises(MasterKeyError):
        MasterKey.create_file(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    MasterKey.create_file(path)
    path.chmod(mode)
    with pytest.raises(MasterKeyError, match="0600"):
        MasterKey.from_file(path)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_the_wrong_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(bytes(length))
    path.chmod(0o600)
    with pytest.raises(MasterKeyError, match="bytes"):
        MasterKey.from_file(path)


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError, match="restore it"):
        MasterKey.from_file(tmp_path / "absent")


def test_a_systemd_credential_is_taken_though_its_mode_does_not_show_who_guards_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.master_key"
    path.write_bytes(bytes(range(32)))
    path.chmod(0o440)  # as systemd makes them, with an access list
    with pytest.raises(MasterKeyError, match="others can reach it"):
        MasterKey.from_file(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert MasterKey.from_file(path).subkey("a") == MasterKey(bytes(range(32))).subkey("a")


@given(st.text(), st.text())
def test_tags_are_equal_only_for_equal_values_of_one_kind(first: str, second: str) -> None:
    master = MasterKey(bytes(32))
    assert (master.lookup_tag("patient", first) == master.lookup_tag("patient", second)) == (first == second)
    assert master.lookup_tag("patient", first) != master.lookup_tag("study", first)
    assert master.lookup_tag("patient", first) != MasterKey(bytes([1] * 32)).lookup_tag("patient", first)


def test_the_key_shows_in_no_representation() -> None:
    key = b"0123456789abcdef0123456789abcdef"
    assert "0123" not in repr(MasterKey(key))
