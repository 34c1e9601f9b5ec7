"""Who may change a package, and who may read it: signatures and sealing."""

import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime import ModelPackage, PackageError
from runtime.package import Admission, copy_package, sign_package, store_package
from runtime.package.signing import make_keys, read_private_key, read_public_key
from tests.runtime.packages import classifier, description, make_package

MAKER, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
STRICT = Admission(trusted_keys=(MAKER.public_key(),), require_signatures=True)
SITE_KEY = bytes(range(32))
WITH_KEY = Admission(site_key=lambda: SITE_KEY)
WEIGHTS = classifier().SerializeToString()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_package(tmp_path / "tiny").directory


@pytest.fixture
def sealed(tmp_path: Path) -> ModelPackage:
    return _stored(tmp_path / "sealed")


def _stored(directory: Path, site_key: bytes | None = SITE_KEY, **changes: Any) -> ModelPackage:
    files = {"model.onnx": WEIGHTS, "notes.txt": b"", "long.bin": b"\0" * ((2 << 20) + 5)}
    return store_package(directory, description(**changes), files, site_key)


def _refusal(directory: Path, admission: Admission) -> PackageError:
    with pytest.raises(PackageError) as caught:
        ModelPackage.load(directory, admission)
    return caught.value


def test_an_unsigned_package_is_refused_where_signatures_are_demanded(directory: Path) -> None:
    assert ModelPackage.load(directory).signed_by is None
    assert "only signed" in str(_refusal(directory, STRICT))


def test_a_package_that_a_trusted_key_signed_is_admitted(directory: Path) -> None:
    key = sign_package(directory, MAKER)
    assert ModelPackage.load(directory, STRICT).signed_by == key


def test_a_package_that_an_unknown_key_signed_is_refused_only_where_signatures_are_demanded(directory: Path) -> None:
    key = sign_package(directory, STRANGER)
    assert ModelPackage.load(directory).signed_by == key
    assert key in str(_refusal(directory, STRICT))


def test_a_package_that_changed_after_it_was_signed_is_always_refused(directory: Path) -> None:
    sign_package(directory, MAKER)
    file = directory / "model.toml"
    file.write_text(file.read_text().replace("threshold = 0.5", "threshold = 0.4"))
    for admission in (Admission(), STRICT):
        assert _refusal(directory, admission).key == "signature"
    with pytest.raises(PackageError):
        sign_package(directory, STRANGER)  # else a changed package could be signed over by mistake


def test_changed_weights_of_a_signed_package_are_refused(directory: Path) -> None:
    sign_package(directory, MAKER)
    (directory / "model.onnx").write_bytes(b"something else")
    assert _refusal(directory, STRICT).key == "files.model.onnx"


@pytest.mark.parametrize(
    "signature",
    [b"", b"\xff", b'algorithm = "none"\npublic_key = ""\nsignature = ""\n', b"x" * (2 << 20), b'public_key = "=="'],
)
def test_what_is_no_signature_is_refused(directory: Path, signature: bytes) -> None:
    (directory / "model.toml.sig").write_bytes(signature)
    assert "model.toml.sig" in str(_refusal(directory, Admission()))


def test_a_signature_cannot_be_moved_to_another_package(directory: Path, tmp_path: Path) -> None:
    sign_package(directory, MAKER)
    other = make_package(tmp_path / "other", version="1.0.1").directory
    (other / "model.toml.sig").write_bytes((directory / "model.toml.sig").read_bytes())
    assert _refusal(other, STRICT).key == "signature"


def test_keys_are_made_for_their_owner_alone_and_never_written_over(tmp_path: Path) -> None:
    private = tmp_path / "maker.pem"
    public = make_keys(private)
    assert private.stat().st_mode & 0o777 == 0o600
    assert read_public_key(public) == read_private_key(private).public_key()
    with pytest.raises(FileExistsError):
        make_keys(private)
    private.chmod(0o640)
    with pytest.raises(PackageError, match="0600"):
        read_private_key(private)
    with pytest.raises(PackageError, match="public"):
        read_public_key(private)


def test_where_there_is_a_public_key_already_no_private_one_is_made_that_does_not_fit_it(tmp_path: Path) -> None:
    (tmp_path / "maker.pem.pub").write_text("somebody's")
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "maker.pem")
    assert [path.name for path in tmp_path.iterdir()] == ["maker.pem.pub"]


def test_a_sealed_package_is_read_back_with_its_key(sealed: ModelPackage) -> None:
    assert sealed.sealed
    again = ModelPackage.load(sealed.directory, WITH_KEY)
    assert again.read_weights() == WEIGHTS
    assert again.read("notes.txt") == b""
    assert again.read("long.bin") == b"\0" * ((2 << 20) + 5)


def test_nothing_of_the_weights_lies_on_the_disk(sealed: ModelPackage) -> None:
    for path in sealed.directory.iterdir():
        if path.name != "model.toml":
            assert WEIGHTS[100:132] not in path.read_bytes()
            assert path.name.startswith("model.toml") or path.name.endswith(".sealed")


def test_a_sealed_package_without_its_key_can_be_described_but_not_read(sealed: ModelPackage) -> None:
    package = ModelPackage.load(sealed.directory)
    assert package.description == sealed.description
    with pytest.raises(PackageError, match="no key here"):
        package.read_weights()


def test_the_key_leaves_neither_with_the_package_nor_in_its_text(sealed: ModelPackage) -> None:
    handed_over = pickle.loads(pickle.dumps(sealed))
    assert handed_over.description == sealed.description
    with pytest.raises(PackageError, match="no key here"):
        handed_over.read_weights()
    assert "seal=" not in repr(sealed)


def test_a_sealed_package_opens_under_its_site_s_key_only(sealed: ModelPackage) -> None:
    refusal = _refusal(sealed.directory, Admission(site_key=lambda: bytes(32)))
    assert refusal.key == "site_key"


def test_the_site_key_is_asked_for_only_when_a_package_is_sealed(directory: Path) -> None:
    def never() -> bytes:
        raise AssertionError

    ModelPackage.load(directory, Admission(site_key=never))


@pytest.mark.parametrize("name", ["model.onnx.sealed", "long.bin.sealed", "notes.txt.sealed", "model.toml.sealed"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_changed_sealed_file_does_not_open(sealed: ModelPackage, name: str, place: int) -> None:
    file = sealed.directory / name
    changed = bytearray(file.read_bytes())
    changed[place] ^= 1
    file.write_bytes(changed)
    assert name in str(_refusal(sealed.directory, WITH_KEY))


def test_sealed_chunks_cannot_be_cut_off_or_exchanged(sealed: ModelPackage) -> None:
    file = sealed.directory / "long.bin.sealed"
    whole = file.read_bytes()
    chunk = (1 << 20) + 16
    for changed in (
        whole[:chunk],
        whole[: 2 * chunk],
        whole[chunk : 2 * chunk] + whole[:chunk] + whole[2 * chunk :],
        b"",
    ):
        file.write_bytes(changed)
        assert "does not open" in str(_refusal(sealed.directory, WITH_KEY))


def test_sealed_files_cannot_change_places(sealed: ModelPackage, tmp_path: Path) -> None:
    other = _stored(tmp_path / "other", version="2.0.0").directory
    weights, long = sealed.directory / "model.onnx.sealed", sealed.directory / "long.bin.sealed"
    kept = weights.read_bytes()
    weights.write_bytes(long.read_bytes())
    assert "does not open" in str(_refusal(sealed.directory, WITH_KEY))
    weights.write_bytes(kept)
    (other / "model.toml.sealed").write_bytes((sealed.directory / "model.toml.sealed").read_bytes())
    assert "of another model" in str(_refusal(other, WITH_KEY))


def test_a_plain_file_in_a_sealed_package_is_refused(sealed: ModelPackage) -> None:
    (sealed.directory / "model.onnx").write_bytes(WEIGHTS)
    assert "not listed" in str(_refusal(sealed.directory, WITH_KEY))


def test_the_makers_signature_stays_good_when_a_site_seals_the_package(tmp_path: Path) -> None:
    plain = _stored(tmp_path / "plain", site_key=None).directory
    sign_package(plain, MAKER)
    sealed = copy_package(ModelPackage.load(plain), tmp_path / "sealed", SITE_KEY).directory
    admission = Admission(STRICT.trusted_keys, require_signatures=True, site_key=lambda: SITE_KEY)
    assert ModelPackage.load(sealed, admission).read_weights() == WEIGHTS


def test_what_is_signed_is_what_was_checked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody exchanges the description for another as soon as it was read."""
    file = directory / "model.toml"
    checked, harmful = file.read_bytes(), file.read_bytes().replace(b"threshold = 0.5", b"threshold = 0.1")
    real = Path.iterdir

    def exchanged(path: Path) -> Iterator[Path]:
        file.write_bytes(harmful)
        return real(path)

    monkeypatch.setattr(Path, "iterdir", exchanged)
    file.write_bytes(checked)
    sign_package(directory, MAKER)
    monkeypatch.undo()
    assert file.read_bytes() == harmful
    assert _refusal(directory, STRICT).key == "signature"
    file.write_bytes(checked)
    assert ModelPackage.load(directory, STRICT).signed_by


class _Meanwhile(dict[str, bytes]):
    """Files, while whose writing something else happens."""

    def __init__(self, files: Mapping[str, bytes], happens: Callable[[], object]) -> None:
        super().__init__(files)
        self._happens = happens

    def __getitem__(self, name: str) -> bytes:
        raise AssertionError

    def items(self) -> Any:
        for number, item in enumerate(super().items()):
            if number == len(self) - 1 and sys._getframe(1).f_code.co_name == "_stored":
                self._happens()
            yield item


KILLED = """
import os, pathlib, signal, sys
from tests.runtime import test_signed_and_sealed_packages as tests
files = tests._Meanwhile(tests.FILES, lambda: os.kill(os.getpid(), signal.SIGKILL))
tests.store_package(pathlib.Path(sys.argv[1]), tests.description(), files)
"""
FILES = {"model.onnx": WEIGHTS, "notes.txt": b"plain"}


def test_of_two_imports_of_one_version_at_once_one_is_told_that_the_other_was_first(tmp_path: Path) -> None:
    there = tmp_path / "one"

    def other() -> None:
        store_package(there, description(), FILES)

    with pytest.raises(FileExistsError, match="never changed"):
        store_package(there, description(), _Meanwhile(FILES, other))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert ModelPackage.load(there).read("notes.txt") == b"plain"


def test_what_a_killed_import_left_is_removed_by_the_next_one_and_nothing_else_is(tmp_path: Path) -> None:
    """Weights in plain text above all: nobody would look for them there."""
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "one"], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "model.onnx").exists()
    others = [tmp_path / name for name in (".two.0123abcd", ".one.0123", ".one.0123abcd.x", "one.0123abcd")]
    for other in others:
        other.mkdir()
    (tmp_path / ".one.89abcdef").symlink_to(others[0])
    store_package(tmp_path / "one", description(), FILES)
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"one", ".one.89abcdef", *(path.name for path in others)}


def test_the_folder_of_packages_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    assert store_package(tmp_path / "models" / "one", description(), FILES).read("notes.txt") == b"plain"


def test_an_import_that_is_still_at_work_is_left_in_peace(tmp_path: Path) -> None:
    def refused() -> None:
        with pytest.raises(PackageError):  # an import of the same version that fails does not take the other's away
            store_package(tmp_path / "one", description(), {})

    def second() -> None:
        raise KeyboardInterrupt

    def both() -> None:
        with pytest.raises(KeyboardInterrupt):
            store_package(tmp_path / "one", description(), _Meanwhile(FILES, second))
        refused()

    store_package(tmp_path / "one", description(), _Meanwhile(FILES, both))
    assert ModelPackage.load(tmp_path / "one").read("notes.txt") == b"plain"


@pytest.mark.parametrize("site_key", [None, SITE_KEY])
def test_a_disk_that_is_full_half_way_leaves_nothing(tmp_path: Path, site_key: bytes | None) -> None:
    """A limit on the size of files stands in for it: the write fails, as there, with an error of the system."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            store_package(tmp_path / "one", description(), {**FILES, "long.bin": bytes(3 << 20)}, site_key)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_package_that_a_last_look_refuses_never_appears(tmp_path: Path) -> None:
    def check(package: ModelPackage) -> None:
        assert not (tmp_path / "one").exists()
        raise PackageError(package.directory / "gate.npz", "format", "is none")

    with pytest.raises(PackageError) as caught:
        store_package(tmp_path / "one", description(), FILES, check=check)
    assert caught.value.file == tmp_path / "one" / "gate.npz"
    assert not list(tmp_path.iterdir())


def test_a_package_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    _stored(tmp_path / "one")
    with pytest.raises(FileExistsError):
        _stored(tmp_path / "one")
    with pytest.raises(PackageError):
        _stored(tmp_path / "two", version="new")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
