"""Drawn volumes: the same for a seed, plausible in millimetres and Hounsfield units, with the truth beside them."""

import numpy as np
import pytest

from pipelines.volume import millilitres
from training.ct_phantoms import SHAPE, draw_phantom


@pytest.fixture(scope="module")
def phantoms():
    return [draw_phantom(seed) for seed in range(20)]


def test_a_seed_gives_the_same_volume_and_another_seed_another(phantoms):
    again = draw_phantom(3)
    assert np.array_equal(again.hounsfield, phantoms[3].hounsfield)
    assert np.array_equal(again.lesion, phantoms[3].lesion)
    assert again.spacing_mm == phantoms[3].spacing_mm
    assert not np.array_equal(again.hounsfield, phantoms[4].hounsfield)


def test_values_are_those_a_scanner_stores(phantoms):
    for phantom in phantoms:
        assert phantom.hounsfield.shape == SHAPE
        assert phantom.hounsfield.dtype == np.float32
        assert phantom.hounsfield.min() >= -1024
        assert phantom.hounsfield.max() <= 3071
        assert np.array_equal(phantom.hounsfield, np.round(phantom.hounsfield))


def test_lungs_hold_litres_and_lesions_lie_in_them(phantoms):
    for phantom in phantoms:
        assert 1500 < millilitres(phantom.lung, phantom.spacing_mm) < 6000
        assert not (phantom.lesion & ~phantom.lung).any()
        plain = phantom.hounsfield[phantom.lung & ~phantom.lesion]
        assert plain.mean() < -700
        if phantom.lesion.any():
            assert phantom.hounsfield[phantom.lesion].mean() > -80


def test_some_have_lesions_and_some_have_none(phantoms):
    assert 0 < sum(phantom.lesion.any() for phantom in phantoms) < len(phantoms)
