"""Millilitres of a mask."""

import numpy as np
import pytest

from pipelines.volume import millilitres


def test_a_litre_is_a_cube_of_ten_centimetres_whatever_the_voxels():
    assert millilitres(np.ones((10, 20, 50), bool), (10.0, 5.0, 2.0)) == pytest.approx(1000)
    assert millilitres(np.ones((100, 100, 100), bool), (1, 1, 1)) == pytest.approx(1000)


def test_only_what_is_masked_counts():
    mask = np.zeros((4, 4, 4), bool)
    assert millilitres(mask, (5, 1, 1)) == 0
    mask[1, 2, 3] = mask[0, 0, 0] = True
    assert millilitres(mask, (5, 0.5, 0.5)) == pytest.approx(0.0025)


def test_a_sphere_has_the_volume_of_a_sphere():
    z, y, x = (np.indices((40, 80, 80)) - np.array([19.5, 39.5, 39.5])[:, None, None, None]) * np.array(
        [2.0, 1.0, 1.0]
    )[:, None, None, None]
    assert millilitres(z**2 + y**2 + x**2 <= 30**2, (2, 1, 1)) == pytest.approx(4 / 3 * np.pi * 27, rel=0.01)


@pytest.mark.parametrize(
    ("mask", "spacing", "message"),
    [
        (np.ones((2, 2), bool), (1, 1, 1), "boolean"),
        (np.ones((2, 2, 2)), (1, 1, 1), "boolean"),
        (np.ones((2, 2, 2), bool), (1, 1), "three distances"),
        (np.ones((2, 2, 2), bool), (1, 0, 1), "above 0"),
        (np.ones((2, 2, 2), bool), (1, float("nan"), 1), "above 0"),
    ],
)
def test_what_has_no_volume_is_refused(mask, spacing, message):
    with pytest.raises(ValueError, match=message):
        millilitres(mask, spacing)
