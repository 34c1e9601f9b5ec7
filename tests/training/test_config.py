from pathlib import Path

import pytest

import training
from training.config import read_config
from training.errors import ConfigError

SHIPPED = Path(training.__file__).with_name("chest_xray.toml")


def test_the_shipped_configuration_is_complete_and_can_be_overridden():
    assert read_config(SHIPPED).folds == 0
    changed = read_config(SHIPPED, ["folds=5", "optimisation.learning_rate=1", "package.name='other'"])
    assert (changed.folds, changed.optimisation.learning_rate, changed.package.name) == (5, 1.0, "other")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimisation.epoch=3", "epoch: unknown key"),
        ("optimisation.epochs='3'", "is not int"),
        ("optimisation.epochs=true", "is not int"),
        ("optimisation.epochs=", "not TOML"),
        ("epochs", "section.key=value"),
        ("folds.a=1", "not a section"),
        ("surprise=1", "unknown key 'surprise'"),
        ("split.test=0.9", "leave some patients"),
        ("network.widths=[1]", "same number of stages"),
        ("network.kind='linear'", "none of texture, residual"),
        ("texture.grids=[]", "above 0"),
        ("labels=[{name='a',code='1',display='A'}]", "at least two"),
        ("labels=[{name='a',code='1',display='A'},{name='a',code='2',display='B'}]", "a name of its own"),
        ("labels=[{name='a',code=' ',display='A'},{name='b',code='2',display='B'}]", "labels.0.code"),
        ("labels=[{name='a',display='A'}]", "code: is missing"),
        ("labels=['a','b']", "is missing"),
        ("labels={}", "is missing"),
        ("labels.name='a'", "is not a section"),
        ("texture.penalties=[1.0]", "one for each label after the first"),
        ("package.name='../x'", "name"),
        ("package.name='ş'", "name"),
        ("package.version='new'", "version"),
        ("package.batch_size=0", "size"),
        ("package.batch_wait_ms=-1", "wait_ms"),
        ("package.sample_threads=2", "sample_threads"),
        ("package.licence=''", "licence"),
        ("labels=[{name='a',code='1',display='A'},{name='b',code='2',display=''}]", "labels.1.display"),
        ("package.input_size=8", "input_size"),
        ("network.widths=[32,0,1,1]", "widths"),
        ("network.blocks=[2,2,2,-1]", "blocks"),
        ("network.dropout=1.0", "dropout"),
        ("augmentation.base_size=0", "base_size"),
        ("augmentation.scale_min=0.0", "scale_min"),
        ("augmentation.scale_max=0.5", "scale_min"),
        ("augmentation.noise=-0.1", "noise"),
        ("augmentation.flip_probability=1.5", "flip_probability"),
        ("optimisation.learning_rate=nan", "learning_rate: nan is not finite"),
        ("optimisation.learning_rate=-1.0", "learning_rate"),
        ("optimisation.weight_decay=inf", "weight_decay: inf is not finite"),
        ("optimisation.clip=-1.0", "clip"),
        ("optimisation.label_smoothing=1.0", "label_smoothing"),
        ("optimisation.balance=-1.0", "balance"),
        ("optimisation.patience=-1", "patience"),
        ("folds=2", "folds"),
        ("folds=-3", "folds"),
        ("split.validation=nan", "not finite"),
        ("texture.penalties=[nan,1.0]", "not finite"),
        ("device.accelerator='gpu'", "none of auto, cpu, cuda"),
        ("package.variants=['float16']", "cannot count"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message):
        read_config(SHIPPED, [override])


def test_a_missing_key_or_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    shortened = tmp_path / "short.toml"
    shortened.write_text(SHIPPED.read_text().replace("dropout", "drop_out"))
    with pytest.raises(ConfigError, match=r"\[network\] drop"):
        read_config(shortened)
