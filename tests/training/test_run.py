"""A whole run on drawn images: it learns, packages what it learnt, and its card tells its own numbers."""

import json
import re
import resource

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="training needs the extra: pip install kopru[torch]")

import torch

import training.chest_xray
from runtime import ModelPackage, to_input
from runtime.drift import Reference
from runtime.gate import Gate
from runtime.package import Role
from training.chest_xray import main
from training.export import run_onnx
from training.radiographs import LABELS, divide, read_image, read_labels

SMALL = """
    device.threads=1 network.kind='residual'
    optimisation.epochs=6 optimisation.warmup_epochs=1 optimisation.batch_size=16 optimisation.learning_rate=0.01
    optimisation.ema_decay=0.8 network.widths=[8,16] network.blocks=[1,1] augmentation.base_size=40
    augmentation.mixup_alpha=0.0 package.input_size=32
"""
OPTIONS = [word for setting in SMALL.split() for word in ("--set", setting)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images that differ by label: bright above, bright left, a bright middle; one patient in two has two images."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    rows, columns = np.indices((48, 48)) / 47
    patterns = (1 - rows, np.sin(9 * columns) / 2 + 0.5, np.exp(-20 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2)))
    lines = ["file,label,patient,source"]
    for number in range(120):
        label = number % 3
        image = np.clip(patterns[label] * 0.8 + generator.normal(0, 0.08, rows.shape), 0, 1)
        Image.fromarray((image * 255).astype(np.uint8)).save(folder / "images" / f"{number:03}.png")
        lines.append(f"{number:03}.png,{LABELS[label]},p{label}-{number // 3 // 2},drawn")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    assert main(["--data", str(data), "--out", str(folder), *OPTIONS]) == 0
    return folder


def test_a_run_learns_what_can_be_learnt(out):
    numbers = json.loads((out / "chest-xray-3class" / "training.json").read_text())["numbers"]
    accuracy = numbers["test"]["accuracy"]
    assert accuracy["hits"] / accuracy["total"] > 0.9


def test_the_card_tells_the_numbers_of_the_package_itself(out, data):
    folder = out / "chest-xray-3class"
    package = ModelPackage.load(folder)
    config = json.loads((folder / "training.json").read_text())["config"]
    held_back = divide(read_labels(data), config["split"]["seed"], 0.15, 0.15).test
    inputs = np.stack([to_input(read_image(data, radiograph), package.preprocessing) for radiograph in held_back])
    answers = run_onnx(folder / "model.onnx", inputs)["probabilities"].argmax(axis=1)
    right = sum(LABELS[answer] == radiograph.label for answer, radiograph in zip(answers, held_back, strict=True))
    card = (folder / "MODEL_CARD.md").read_text()
    said = re.search(r"test part\n\n- Accuracy, three classes: .*?\((\d+)/(\d+);", card)
    assert said is not None
    assert (int(said[1]), int(said[2])) == (right, len(held_back))
    for label in package.labels:
        assert f"| {label.name} | {label.threshold:.4f} |" in card


def test_the_package_carries_what_the_runtime_asks_for(out):
    folder = out / "chest-xray-3class"
    package = ModelPackage.load(folder)
    assert [(spec.name, spec.role) for spec in package.outputs] == [
        ("probabilities", Role.SCORES),
        ("heatmap", Role.HEATMAP),
        ("embedding", Role.EMBEDDING),
    ]
    (variant,) = package.variants
    with np.load(folder / "check.npz", allow_pickle=False) as check:
        for file, tolerance in (("model.onnx", package.check.tolerance), (variant.file, variant.tolerance)):
            for name, answer in run_onnx(folder / file, check["input:image"]).items():
                assert np.abs(answer - check[f"output:{name}"]).max() <= tolerance
        heatmap = check["output:heatmap"]
        assert heatmap.shape[1:] == package.outputs[1].sample_shape
        assert 0 <= heatmap.min() < heatmap.max() <= 1 + 1e-6
        drawn = check["input:image"]
    gate, reference = Gate.of(package), Reference.of(package)
    noise = gate.judge(drawn[2:], run_onnx(folder / "model.onnx", drawn[2:])["embedding"])
    assert not noise[0].fits
    assert {"embedding.0", "score.2"} <= set(reference.features)
    assert (out / "model.float16.onnx").exists()
    for picture in ("roc.png", "reliability.png", "confusion.png"):
        with Image.open(folder / picture) as image:
            assert min(image.size) > 300


def test_the_strongest_place_of_the_heatmap_speaks_for_the_likeliest_label(out):
    """The third label's images differ by a bright middle."""
    rows, columns = np.indices((32, 32)) / 31
    middle = np.exp(-20 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2)) * 0.8
    answer = run_onnx(out / "chest-xray-3class" / "model.onnx", np.rint(65535 * middle[None, None]).astype(np.uint16))
    assert answer["probabilities"].argmax() == 2
    heat = answer["heatmap"][0, 2]
    assert heat.max() == answer["heatmap"].max()


def test_an_earlier_run_is_packaged_again_bit_for_bit(out, data, tmp_path):
    again = ["--data", str(data), "--out", str(tmp_path), *OPTIONS, "--weights", str(out / "weights.pt")]
    assert main(again) == 0
    first, second = (folder / "chest-xray-3class" / "model.onnx" for folder in (out, tmp_path))
    assert first.read_bytes() == second.read_bytes()


def test_a_cross_validation_writes_the_measures_of_all_folds(data, tmp_path):
    folds = ["--folds", "3", "--set", "optimisation.epochs=1", "--set", "optimisation.warmup_epochs=0"]
    assert main(["--data", str(data), "--out", str(tmp_path), *OPTIONS, *folds]) == 0
    summary = json.loads((tmp_path / "cross_validation.json").read_text())
    assert len(summary["folds"]) == 3
    assert summary["pooled"]["accuracy"]["total"] == 120


def test_a_run_that_never_was_is_not_continued(data, tmp_path, capsys):
    assert main(["--data", str(data), "--out", str(tmp_path), *OPTIONS, "--resume"]) == 1
    assert "no checkpoint to continue" in capsys.readouterr().err


def test_too_few_patients_end_the_run_with_a_message(data, tmp_path, capsys):
    (tmp_path / "images").symlink_to(data / "images")
    (tmp_path / "labels.csv").write_text("file,label,patient,source\n000.png,Normal,p,s\n")
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), *OPTIONS]) == 1
    assert "too few patients" in capsys.readouterr().err


def test_what_are_no_weights_ends_the_run_with_a_message(data, tmp_path, capsys):
    (tmp_path / "weights.pt").write_bytes(b"none")
    again = ["--data", str(data), "--out", str(tmp_path), *OPTIONS, "--weights"]
    for name in ("weights.pt", "absent.pt"):
        assert main([*again, str(tmp_path / name)]) == 1
        assert "holds no weights" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_ends_the_run_before_an_image_is_read(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("file,label,patient,source\nnone.png,Normal,p,s\n")
    asked = ["--data", str(tmp_path), "--out", str(tmp_path), *OPTIONS, "--set", 'device.accelerator="cuda"']
    assert main(asked) == 1
    said = capsys.readouterr().err
    assert "no GPU" in said
    assert said.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_ends_the_run_with_a_message(data, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--data", str(data), "--out", str(tmp_path / "file"), *OPTIONS]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'file'}: File exists\n"


def test_a_run_that_is_interrupted_while_it_reads_says_so(data, tmp_path, capsys, monkeypatch):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.chest_xray, "inspect_images", interrupted)
    assert main(["--data", str(data), "--out", str(tmp_path), *OPTIONS]) == 1
    assert capsys.readouterr().err.startswith("interrupted")


def test_a_wrong_setting_ends_the_run_with_a_message(data, tmp_path, capsys):
    assert main(["--data", str(data), "--out", str(tmp_path), "--set", "network.depth=3"]) == 1
    assert "depth: unknown key" in capsys.readouterr().err


def test_a_run_learns_two_labels_of_its_own(data, tmp_path):
    """As at another hospital: other labels, one of them rare, and so another table, with a card that tells of no
    others.
    """
    (tmp_path / "images").symlink_to(data / "images")
    lines = (data / "labels.csv").read_text().splitlines()
    own = {"Normal": "Sağlıklı", "COVID-19": "Nodül var"}
    rows = [
        line.replace(f",{old},", f",{new},") + " | here"
        for line in lines[1:]
        for old, new in own.items()
        if f",{old}," in line and int(line.split(",")[2].split("-")[1]) < (6 if old == "COVID-19" else 99)
    ]
    (tmp_path / "labels.csv").write_text("\n".join([lines[0], *rows]), encoding="utf-8")
    first, second = own.values()
    labels = f"labels=[{{name='{first}',code='17621005',display='a'}},{{name='{second}',code='786838002',display='b'}}]"
    settings = [labels, "optimisation.patience=1", "optimisation.ema_decay=0.0"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), *OPTIONS, *arguments]) == 0
    package = ModelPackage.load(tmp_path / "out" / "chest-xray-3class")
    assert [(one.name, one.code, one.display) for one in package.labels] == [
        ("Sağlıklı", "17621005", "a"),
        ("Nodül var", "786838002", "b"),
    ]
    card = (package.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "- Accuracy, two classes: " in card
    assert "- At most 6 epochs, fewer where 1 in a row brought no lower loss" in card
    assert "schedule; weights at the last epoch" in card
    assert f"| {second} sensitivity | too few patients |" in card
    assert "nan" not in card
    measured = (package.directory / "training.json").read_text(encoding="utf-8")
    assert json.loads(measured, parse_constant=pytest.fail)["numbers"]["intervals"][f"{second} AUROC"] == [None, None]
    assert f"| {first} | drawn \\| here |" in card
    assert not [
        word for word in (*LABELS, "three", "against", "average", "How the settings were chosen") if word in card
    ]


def test_a_disk_that_is_full_ends_the_run_with_a_message(out, data, tmp_path, capsys):
    """A limit on the size of each file stands for it."""
    written = (out / "weights.pt").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = ["--data", str(data), "--out", str(tmp_path), *OPTIONS, "--weights", str(out / "weights.pt")]
    resource.setrlimit(resource.RLIMIT_FSIZE, (written - 1, before[1]))
    try:
        assert main(arguments) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capsys.readouterr().err == f"{tmp_path}: File too large\n"
    assert not list(tmp_path.rglob("model.toml"))


FOLDS = ["--folds", "3", "--set", "optimisation.epochs=1", "--set", "optimisation.warmup_epochs=0"]


def test_a_cross_validation_goes_on_though_a_fold_had_begun_and_finished_no_epoch(data, tmp_path, capsys):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert main(["--data", str(data), "--out", str(straight), *OPTIONS, *FOLDS]) == 0
    (broken / "checkpoints").mkdir(parents=True)
    (straight / "checkpoints" / "fold-1").rename(broken / "checkpoints" / "fold-1")
    (broken / "checkpoints" / "fold-2").mkdir()
    (broken / "checkpoints" / "fold-2" / "epoch-00001.part").write_bytes(b"half")
    capsys.readouterr()
    assert main(["--data", str(data), "--out", str(broken), *OPTIONS, *FOLDS, "--resume"]) == 0
    assert capsys.readouterr().out.count("epoch 1/1") == 2
    assert (straight / "cross_validation.json").read_bytes() == (broken / "cross_validation.json").read_bytes()


@pytest.mark.parametrize("content", ['{"data_sha256": "of others"', '{"data_sha256": "of others", "config": {}}', "{}"])
def test_a_cross_validation_that_does_not_belong_here_ends_the_run_before_it_learns(data, tmp_path, capsys, content):
    (tmp_path / "cross_validation.json").write_text(content)
    assert main(["--data", str(data), "--out", str(tmp_path), *OPTIONS]) == 1
    said = capsys.readouterr()
    assert "write to another folder, or remove it" in said.err
    assert "epoch" not in said.out


def test_weights_are_not_cross_validated(data, tmp_path, capsys):
    asked = ["--data", str(data), "--out", str(tmp_path), *OPTIONS, "--folds", "3", "--weights", "weights.pt"]
    assert main(asked) == 1
    assert "--weights" in capsys.readouterr().err
