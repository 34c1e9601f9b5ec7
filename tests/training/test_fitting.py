"""Fitting: the same weights however often a run is interrupted, and whatever the schedule."""

import errno
import signal
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install kopru[torch]")

import lightning
import torch

import training
from training.checkpoints import read_about
from training.config import read_config
from training.errors import CheckpointError, ConfigError, Interrupted
from training.fitting import BalancedSampler, Examples, check_device, fit, rate

SHIPPED = Path(training.__file__).with_name("chest_xray.toml")
SMALL = (
    *("optimisation.epochs=4", "optimisation.warmup_epochs=1", "optimisation.batch_size=16"),
    *("optimisation.ema_decay=0.8", "network.widths=[4,8]", "network.blocks=[1,1]"),
    *("augmentation.base_size=40", "package.input_size=32"),
    *('device.accelerator="cpu"', "device.threads=1", "device.checkpoints=2"),
)


def config(*overrides):
    return read_config(SHIPPED, [*SMALL, *overrides])


def examples(count, size):
    generator = torch.Generator().manual_seed(count)
    return Examples(torch.rand(count, 1, size, size, generator=generator), torch.arange(count) % 3)


def run(folder, *overrides, lines=None, **options):
    say = lines.append if lines is not None else lambda line: None
    chosen = config(*overrides)
    return fit(examples(50, 40), examples(12, 32), 3, chosen, folder, "digest", say, **options).state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("more", [[], ["optimisation.accumulate=3", 'optimisation.schedule="step"']])
def test_an_interrupted_run_ends_with_the_very_weights_of_one_that_was_not(tmp_path, more):
    straight = run(tmp_path / "straight", *more)
    run(tmp_path / "halves", *more, until=1)
    run(tmp_path / "halves", *more, until=3, resume=True)
    assert same(straight, run(tmp_path / "halves", *more, resume=True))
    assert not same(straight, run(tmp_path / "other", "optimisation.seed=8", *more))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_a_signal_ends_says_so_and_goes_on_where_it_was(tmp_path, number):
    """SIGTERM is what a cluster sends; a run that ended by it with success would be taken for a finished one."""

    def interrupt(line):
        if line.startswith("epoch 3"):
            signal.raise_signal(number)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(Interrupted, match="--resume"):
            fit(examples(50, 40), examples(12, 32), 3, config(), tmp_path / "run", "digest", interrupt)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert same(run(tmp_path / "straight"), run(tmp_path / "run", resume=True))


def test_a_disk_that_is_full_ends_a_run_with_the_checkpoints_that_it_had(tmp_path, monkeypatch):
    def full(self, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    run(tmp_path, until=2)
    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", full)
    with pytest.raises(CheckpointError, match=r"epoch-00003.*No space left"):
        run(tmp_path, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-00001.ckpt", "epoch-00002.ckpt"]
    monkeypatch.undo()
    assert same(run(tmp_path.with_name("straight")), run(tmp_path, resume=True))


def test_the_last_checkpoints_are_kept_and_say_what_they_are(tmp_path):
    lines = []
    run(tmp_path, lines=lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-00003.ckpt", "epoch-00004.ckpt"]
    about = read_about(tmp_path / "epoch-00004.ckpt")
    assert (about["epochs_done"], about["data"]) == (4, "digest")
    assert about["config"]["network"]["widths"] == [4, 8]
    assert len(lines) == 4
    assert "MiB" in lines[0]


def test_a_run_is_continued_only_with_its_own_settings_and_data(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run(tmp_path / "none", resume=True)
    run(tmp_path, until=1)
    with pytest.raises(CheckpointError, match="another config"):
        run(tmp_path, "optimisation.learning_rate=0.5", resume=True)
    with pytest.raises(CheckpointError, match="another data"):
        fit(examples(50, 40), examples(12, 32), 3, config(), tmp_path, "other", print, resume=True)
    (tmp_path / "epoch-00009.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="epoch-00009"):
        run(tmp_path, resume=True)


def test_a_run_that_starts_anew_can_be_continued_whatever_ran_in_its_folder_before(tmp_path):
    run(tmp_path, "optimisation.seed=8")
    run(tmp_path, until=1)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001.ckpt"]
    assert same(run(tmp_path.with_name("straight")), run(tmp_path, resume=True))


def test_a_run_that_gets_no_better_ends_early(tmp_path):
    lines = []
    still = ["optimisation.learning_rate=0", "optimisation.epochs=40", "optimisation.patience=1"]
    run(tmp_path, *still, lines=lines)
    assert len(lines) < 40


@pytest.mark.parametrize("more", [[], ["optimisation.ema_decay=0.0"]])
def test_a_run_that_is_finished_is_read_and_not_continued(tmp_path, more):
    lines = []
    finished = run(tmp_path, *more)
    assert same(finished, run(tmp_path, *more, resume=True, lines=lines))
    assert lines == []


def test_a_run_that_ends_early_ends_there_however_often_it_is_interrupted(tmp_path):
    still = ["optimisation.learning_rate=0", "optimisation.epochs=40", "optimisation.patience=2"]
    lines, again, more = [], [], []
    straight = run(tmp_path / "straight", *still, lines=lines)
    assert 2 < len(lines) < 40
    run(tmp_path / "parts", *still, until=len(lines) - 1, lines=again)
    assert same(straight, run(tmp_path / "parts", *still, resume=True, lines=again))
    assert len(again) == len(lines)
    assert same(straight, run(tmp_path / "parts", *still, resume=True, lines=more))
    assert more == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['device.accelerator="cuda"'], "accelerator: torch finds no GPU"),
        (['device.accelerator="cuda"', "device.devices=2"], "accelerator: torch finds no GPU"),
        (['device.precision="float16"'], "precision: float16 is for GPUs"),
        (['device.accelerator="auto"', 'device.precision="float16"'], "precision: float16 is for GPUs"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message) as refused:
        run(tmp_path, *overrides)
    assert "\n" not in str(refused.value)


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for accelerator in ("auto", "cuda"):
        check_device(config(f'device.accelerator="{accelerator}"').device)
        with pytest.raises(ConfigError, match=r"devices: 3 are asked for, and torch finds 1 GPU"):
            check_device(config(f'device.accelerator="{accelerator}"', "device.devices=3").device)
    check_device(config("device.devices=3").device)


def test_the_rate_warms_up_and_falls_as_its_schedule_says():
    cosine = config("optimisation.epochs=11").optimisation
    assert [rate(step, 10, cosine) for step in (0, 9, 10, 60, 110)] == pytest.approx([0.1, 1, 1, 0.5, 0], abs=1e-9)
    falling = ["optimisation.decay=0.1", "optimisation.decay_epochs=2", "optimisation.warmup_epochs=0"]
    step = config('optimisation.schedule="step"', *falling).optimisation
    assert [rate(at, 10, step) for at in (0, 19, 20, 40)] == pytest.approx([1, 1, 0.1, 0.01])
    exponential = config('optimisation.schedule="exponential"', *falling).optimisation
    assert [rate(at, 10, exponential) for at in (0, 10, 20)] == pytest.approx([1, 0.1**0.5, 0.1])


def test_rare_labels_are_drawn_as_often_as_frequent_ones():
    labels = torch.tensor([0] * 900 + [1] * 80 + [2] * 20)
    drawn = labels[torch.tensor(list(BalancedSampler(labels, 3, config())))]
    assert torch.bincount(drawn).min() > 250


@pytest.mark.soak
def test_two_processes_share_a_run_and_hand_back_its_average(tmp_path):
    """At length only: each process imports everything anew."""
    chosen = config("device.devices=2", "optimisation.batch_size=8", "optimisation.epochs=2")
    network = fit(examples(50, 40), examples(12, 32), 3, chosen, tmp_path, "digest", print)
    kept = torch.load(tmp_path / "epoch-00002.ckpt", weights_only=True)["state_dict"]
    assert same({f"network.{name}": value for name, value in network.state_dict().items()}, kept)
