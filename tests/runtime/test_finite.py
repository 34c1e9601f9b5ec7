"""Whether all numbers of a tensor are finite: asked of each request, so in one pass, and without a false word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runtime.tensors import is_finite


@pytest.mark.filterwarnings("error::RuntimeWarning")
@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            arrays.array_shapes(min_side=0, max_side=6),
            elements=arrays.from_dtype(np.dtype(dtype), allow_nan=True, allow_infinity=True),
        )
    )
)
def test_it_is_what_numpy_says_of_each_number(tensor: np.ndarray) -> None:
    assert is_finite(tensor) == bool(np.isfinite(tensor).all())


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_whose_squares_are_infinite_are_finite() -> None:
    assert is_finite(np.full(5, 3e38, np.float32))
    assert is_finite(np.full(5, -1e308))
    assert is_finite(np.array([2**63 - 1, -5]))
