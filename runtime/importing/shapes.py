"""Finds by running what a model gives, and whether its first dimension really is one of independent samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from runtime.package.archives import Array
from runtime.package.parts import LONGEST_NAME, DType, is_tensor_name
from runtime.tensors import made_up as made_up_tensor

Tables = Sequence[Mapping[str, Any]]
Run = Callable[[Mapping[str, Array]], Sequence[Array]]

_SEED: Final = 20_250_101
_MOST_CHECK_BYTES: Final = 32 << 20
_APART: Final = ((1, 2), (0, 1))
_RELATIVE, _ABSOLUTE = 1e-2, 1e-3  # between a sample alone and the same one among others: other kernels, same answer


class TrialFailed(Exception):
    """The model is not what can be served; `key` names the place in its description."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Found:
    """The outputs as tables of `model.toml`, whether only one sample at a time can be run, and a check."""

    outputs: list[dict[str, Any]]
    one_at_a_time: bool
    answers: dict[str, Array]


def run_trial(inputs: Tables, outputs: Tables, run: Run) -> Found:
    """Run two samples, each alone and both together. `outputs` are declared in order, each with a name and perhaps
    more; `run` gives as many arrays. Raises `TrialFailed`.
    """
    for key, tensors in (("inputs", inputs), ("outputs", outputs)):
        _check_names(key, [str(each["name"]) for each in tensors])
    two = _told_apart(made_up(inputs, 2), run)
    one = {name: array[:1] for name, array in two.items()}
    alone = run(one)
    if len(alone) < len(outputs) or not alone:
        raise TrialFailed("outputs", f"{len(outputs)} are declared, and the model gives {len(alone)}")
    names = [str(each["name"]) for each in outputs] or _names(len(alone))
    try:
        both = run(two)
    except Exception:  # noqa: BLE001  # a model with a fixed size says so in its own way
        both = None
    tables = []
    for position, name in enumerate(names):
        declared = dict(outputs[position]) if outputs else {"name": name}
        tables.append(
            _table(f"outputs.{position}", declared, alone[position], None if both is None else both[position])
        )
    if both is not None:
        other = run({name: array[1:] for name, array in two.items()})
        for position, together in enumerate(both[: len(names)]):
            _check_independence(f"outputs.{position}", together, (alone[position], other[position]))
    given = alone if both is None else both
    fed = one if both is None else two
    answers = {f"input:{name}": array for name, array in fed.items()}
    answers |= {f"output:{name}": array for name, array in zip(names, given, strict=False)}
    return Found(tables, both is None, answers if _is_worth_keeping(answers) else {})


def made_up(inputs: Tables, samples: int) -> dict[str, Array]:
    """Samples that are always the same."""
    random = np.random.default_rng(_SEED)
    return {each["name"]: made_up_tensor((samples, *each["shape"][1:]), each["dtype"], random) for each in inputs}


def _told_apart(two: dict[str, Array], run: Run) -> dict[str, Array]:
    """The samples with other numbers where both are the same, if the model takes those: of equal samples nobody can
    tell which was answered, and zeros change no sum.
    """
    same = [name for name, array in two.items() if (array[0] == array[1]).all()]
    for numbers in _APART if same else ():
        apart = {**two, **{name: _filled(two[name], numbers) for name in same}}
        if all(_takes(run, {name: array[at : at + 1] for name, array in apart.items()}) for at in (0, 1)):
            return apart
    return two


def _takes(run: Run, one: dict[str, Array]) -> bool:
    try:
        run(one)
    except Exception:  # noqa: BLE001  # integers can be places that the model does not have, said in its own way
        return False
    return True


def _filled(two: Array, numbers: tuple[int, int]) -> Array:
    return np.stack([np.full_like(sample, number) for sample, number in zip(two, numbers, strict=True)])


def _names(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{position}" for position in range(count)]


def _table(where: str, declared: dict[str, Any], alone: Array, both: Array | None) -> dict[str, Any]:
    channels = declared.pop("channels", None)
    if alone.dtype.name not in set(DType):
        raise TrialFailed(f"{where}.dtype", f"the model gives {alone.dtype}, which no package can have")
    if alone.ndim == 0 or alone.shape[0] != 1 or (both is not None and both.shape != (2, *alone.shape[1:])):
        shapes = f"{list(alone.shape)} for one sample" + ("" if both is None else f", {list(both.shape)} for two")
        raise TrialFailed(f"{where}.shape", f"has no batch as its first dimension: the model gives {shapes}")
    found = {"dtype": alone.dtype.name, "shape": ["batch", *alone.shape[1:]]}
    for key, value in found.items():
        if key in declared and declared[key] != value:
            raise TrialFailed(f"{where}.{key}", f"is {declared[key]}, and the model gives {value}")
    if channels is not None and found["shape"][1:2] != [channels]:
        raise TrialFailed(f"{where}.shape", f"{channels} channels are declared, and the model gives {found['shape']}")
    return {**declared, **found}


def _check_independence(where: str, together: Array, alone: Sequence[Array]) -> None:
    """Each of the two: in a running sum, say, only the second depends on the first."""
    apart = np.concatenate(list(alone))
    if apart.shape != together.shape or not np.allclose(together, apart, _RELATIVE, _ABSOLUTE, equal_nan=True):
        raise TrialFailed(where, "a sample's answer depends on the others of its batch, so they cannot be run together")


def _check_names(key: str, names: Sequence[str]) -> None:
    """They become keys of `model.toml`, names in archives and words in messages."""
    for position, name in enumerate(names):
        if not is_tensor_name(name):
            problem = f"is empty, longer than {LONGEST_NAME} characters, or has characters that cannot be seen; rename"
            raise TrialFailed(f"{key}.{position}.name", f"{problem} the tensor in the model")


def _is_worth_keeping(answers: Mapping[str, Array]) -> bool:
    """A check shows something only if its numbers are finite, and it is made to be small."""
    size = sum(array.nbytes for array in answers.values())
    return size <= _MOST_CHECK_BYTES and all(np.isfinite(array).all() for array in answers.values())
