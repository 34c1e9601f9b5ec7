"""Model packages: what is refused, and that the refusal names the place."""

import io
import os
import pickle
import time
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import ModelPackage, PackageError
from runtime.package import Grayscale, NoPreprocessing, read_arrays, write_arrays, write_package
from tests.runtime.packages import description, make_package


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny")


def _refusal(directory: Path) -> PackageError:
    with pytest.raises(PackageError) as caught:
        ModelPackage.load(directory)
    return caught.value


def test_what_is_written_is_read_back(package: ModelPackage) -> None:
    again = ModelPackage.load(package.directory)
    assert again == package
    assert again.intended_use == 'Tests of the "runtime" only.'
    assert again.inputs[0].sample_shape == (1, 8, 8)
    assert isinstance(again.preprocessing, Grayscale)
    assert [label.code for label in again.labels] == ["c0", "c1", "c2"]
    assert len(again.weights_sha256) == 64


def test_a_package_can_be_handed_to_another_process(package: ModelPackage) -> None:
    assert pickle.loads(pickle.dumps(package)) == package


def test_a_package_is_frozen(package: ModelPackage) -> None:
    with pytest.raises(ValueError, match="frozen"):
        package.research_only = False  # type: ignore[misc]


def test_changed_weights_are_refused_by_name(package: ModelPackage) -> None:
    weights = package.directory / "model.onnx"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    refusal = _refusal(package.directory)
    assert refusal.key == "files.model.onnx"
    assert package.weights_sha256 in str(refusal)


def test_weights_that_change_after_loading_are_not_run(package: ModelPackage) -> None:
    (package.directory / "model.onnx").write_bytes(b"something else")
    with pytest.raises(PackageError, match="was changed"):
        package.read_weights()


def test_an_unlisted_file_is_refused(package: ModelPackage) -> None:
    (package.directory / "extra.bin").write_bytes(b"")
    assert "extra.bin" in str(_refusal(package.directory))


def test_a_missing_file_is_refused(package: ModelPackage) -> None:
    (package.directory / "model.onnx").unlink()
    assert "model.onnx" in str(_refusal(package.directory))


@pytest.mark.parametrize("name", ["model.onnx", "model.toml"])
def test_what_is_no_regular_file_is_refused_at_once(package: ModelPackage, name: str) -> None:
    (package.directory / name).unlink()
    os.mkfifo(package.directory / name)
    assert "no regular file" in str(_refusal(package.directory))
    (package.directory / name).unlink()
    (package.directory / name).mkdir()
    assert "no regular file" in str(_refusal(package.directory))


def test_a_description_that_does_not_list_its_weights_is_refused(package: ModelPackage) -> None:
    file = package.directory / "model.toml"
    file.write_text(file.read_text().partition("[files]")[0] + "[files]\n")
    (package.directory / "model.onnx").unlink()
    assert _refusal(package.directory).key == "weights"


@pytest.mark.parametrize(
    "content",
    [
        b"a = 0x" + b"f" * 20_000,
        b"a = " + b"9" * 20_000,
        b"a" + b".a" * 5_000 + b" = 1",
        b"a = 1979-05-27\nb = nan\n",
        b"[files]\n" + b"".join(b'"f%d" = "x"\n' % number for number in range(60_000)),
    ],
)
def test_a_description_that_would_choke_a_reader_is_refused(package: ModelPackage, content: bytes) -> None:
    (package.directory / "model.toml").write_bytes(content)
    assert "model.toml" in str(_refusal(package.directory))


@pytest.mark.parametrize(
    "content",
    [
        b"a." * 500_000 + b"a = 1",
        b"''." * 300_000 + b"a = 1",
        b"x = {" + b'"a" . ' * 150_000 + b"a = 1}",
        b'"""\\' * 250_000,
        b"a" * 1_000_000,
    ],
    ids=["bare", "quoted", "inline", "open strings", "one word"],
)
def test_a_description_of_one_endless_key_costs_no_time(package: ModelPackage, content: bytes) -> None:
    """Python's reader takes time that grows with the square of the parts: hours for the first."""
    (package.directory / "model.toml").write_bytes(content)
    began = time.process_time()
    with pytest.raises(PackageError):
        ModelPackage.load(package.directory)
    assert time.process_time() - began < 5


def test_dots_in_texts_and_comments_make_no_key_long(package: ModelPackage) -> None:
    file = package.directory / "model.toml"
    dots = ".".join("1" * 100)
    text = file.read_text().replace('"Apache-2.0"', f'"""{dots}\n{dots}"""')
    file.write_text(f"# {dots}\n{text}")
    assert ModelPackage.load(package.directory).licence == f"{dots}\n{dots}"


def test_a_file_name_that_is_no_text_is_refused_in_words(package: ModelPackage) -> None:
    (package.directory / os.fsdecode(b"\xff\x1b[31m")).write_bytes(b"")
    with pytest.raises(PackageError) as caught:
        ModelPackage.load(package.directory)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


def test_what_a_killed_writer_left_of_a_description_is_no_part_of_the_package(package: ModelPackage) -> None:
    for name in (".model.toml.0123abcd", ".model.toml.sig.0123abcd"):
        (package.directory / name).write_bytes(b"half of")
    assert ModelPackage.load(package.directory).description == package.description
    assert write_package(package.directory, description()).description == package.description
    (package.directory / ".model.onnx.0123abcd").write_bytes(b"")
    with pytest.raises(PackageError, match="not listed"):
        ModelPackage.load(package.directory)


def test_a_weights_file_that_is_exchanged_for_a_link_after_loading_is_not_read(
    package: ModelPackage, tmp_path: Path
) -> None:
    weights = package.directory / "model.onnx"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="links"):
        package.read_weights()


def _npz(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return made.getvalue()


def test_arrays_are_written_and_read(tmp_path: Path) -> None:
    arrays = {"input:x": np.arange(6, dtype=np.float32).reshape(2, 3), "output:y": np.zeros((2, 0), np.int64)}
    again = read_arrays(tmp_path, write_arrays(arrays))
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        _npz(x=b""),
        _npz(x=b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000,), }\n"),
        _npz(
            x=b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 12 + b"\n"
        ),
        _npz(x=pickle.dumps(print)),
        _npz(x=b"\0" * (2 << 20)),
    ],
)
def test_hostile_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PackageError):
        read_arrays(tmp_path, content, most_bytes=1 << 20)


@pytest.mark.parametrize(
    "descr", ["()", "('<f4',)", "[]", "{}", "[('a', '<f4')]", "'V0'", "'<S0'", "'<U2'", "'<M8[s]'", "'<c8'", "'b1'"]
)
@pytest.mark.parametrize("shape", ["()", "(1,)"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, descr: str, shape: str) -> None:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(8)
    with pytest.raises(PackageError, match="plain numbers"):
        read_arrays(tmp_path, _npz(x=content))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_refused_however_it_is_compressed(tmp_path: Path, compression: int) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        archive.writestr("x.npy", bytes(range(256)))
    for place in range(36, 100):
        content = bytearray(made.getvalue())
        content[place] ^= 0xFF
        with pytest.raises(PackageError):
            read_arrays(tmp_path, bytes(content))


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = _npz(x=b"\0" * (8 << 20))
    lying = content.replace((8 << 20).to_bytes(4, "little"), (64).to_bytes(4, "little"))
    assert lying != content
    with pytest.raises(PackageError):
        read_arrays(tmp_path, lying)


@given(data=st.binary(max_size=400))
def test_any_bytes_in_the_place_of_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(PackageError):
        read_arrays(Path("x.npz"), data)


def test_a_link_is_refused(package: ModelPackage, tmp_path: Path) -> None:
    weights = package.directory / "model.onnx"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    assert "links" in str(_refusal(package.directory))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = ", b"a = " + b"[" * 100_000, b"#" * (2 << 20)])
def test_what_is_no_toml_is_refused(package: ModelPackage, content: bytes) -> None:
    (package.directory / "model.toml").write_bytes(content)
    assert str(package.directory / "model.toml") in str(_refusal(package.directory))


def test_a_directory_without_a_description_is_refused(tmp_path: Path) -> None:
    assert "model.toml" in str(_refusal(tmp_path))


def _preprocessing(**changes: object) -> dict[str, object]:
    return description()["preprocessing"] | changes


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"name": "../etc"}, "name", "pattern"),
        ({"name": 5}, "name", "string"),
        ({"research_only": "no"}, "research_only", "boolean"),
        ({"licence": " "}, "licence", "empty"),
        ({"colour": "red"}, "colour", "unknown key"),
        ({"batch": {"size": 8}}, "batch.wait_ms", "missing"),
        ({"batch": {"size": 0, "wait_ms": 1}}, "batch.size", "greater than or equal to 1"),
        ({"batch": {"size": 8, "wait_ms": 1, "max": 3}}, "batch.max", "unknown key"),
        ({"inputs": []}, "inputs", "at least 1"),
        ({"inputs": [{"name": "x", "dtype": "complex64", "shape": ["batch"]}]}, "inputs.0.dtype", "'float32'"),
        ({"inputs": [{"name": "x", "dtype": "int8", "shape": [1, 2]}]}, "inputs.0", 'start with "batch"'),
        ({"outputs": [{"name": "x", "dtype": "int8", "shape": ["batch"]}] * 2}, "outputs", "same name"),
        (
            {"preprocessing": _preprocessing(resize="squash")},
            "preprocessing.resize",
            "'letterbox', 'stretch' or 'crop'",
        ),
        ({"preprocessing": _preprocessing(std=0)}, "preprocessing.std", "greater than 0"),
        ({"preprocessing": _preprocessing(kind="colour")}, "preprocessing", "'grayscale'"),
        ({"preprocessing": _preprocessing(size=[4, 4])}, "preprocessing", "first input"),
        ({"preprocessing": _preprocessing(bits=8)}, "preprocessing", "normalises the greys itself"),
        ({"preprocessing": _preprocessing(bits=8, mean=0.0, std=1.0)}, "preprocessing", "gives uint8"),
        ({"preprocessing": _preprocessing(bits=12)}, "preprocessing.bits", "8 or 16"),
        ({"labels": description()["labels"][:2]}, "labels", "first output"),
        ({"labels": description()["labels"][::-1]}, "labels", "in this order"),
        (
            {"labels": [description()["labels"][0] | {"threshold": 1.5}]},
            "labels.0.threshold",
            "less than or equal to 1",
        ),
        ({"weights": "model.pt"}, "weights", "not listed"),
        ({"weights": "notes.txt"}, "weights", ".onnx"),
    ],
)
def test_a_wrong_description_is_refused_with_its_key(
    package: ModelPackage, changes: dict[str, object], key: str, words: str
) -> None:
    (package.directory / "notes.txt").write_text("a file of another kind")
    with pytest.raises(PackageError) as caught:
        write_package(package.directory, description(**changes))
    assert caught.value.key == key
    assert words in caught.value.problem


def test_a_refused_description_is_not_written(package: ModelPackage) -> None:
    with pytest.raises(PackageError):
        write_package(package.directory, description(version="new"))
    assert ModelPackage.load(package.directory).version == "1.0.0"


def test_the_writer_keeps_odd_characters(tmp_path: Path) -> None:
    text = 'Tırnak " ters \\ satır\nsonu \x7f \U0001fa7b'
    package = make_package(tmp_path / "odd", training_data=text)
    assert package.training_data == text
    assert tomllib.loads((package.directory / "model.toml").read_text())["training_data"] == text


def test_a_package_needs_no_images_and_no_labels(tmp_path: Path) -> None:
    whole = description()
    del whole["preprocessing"], whole["labels"]
    directory = make_package(tmp_path / "plain").directory
    package = write_package(directory, whole)
    assert isinstance(package.preprocessing, NoPreprocessing)
    assert package.labels == ()
