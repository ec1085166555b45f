from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import matmul, zero_point_terms
from tests import reference


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 7), k=st.integers(0, 40), n=st.integers(1, 7), seed=st.integers(0, 2**32), per=st.booleans())
def test_terms_sum_to_the_product_of_corrected_operands(m: int, k: int, n: int, seed: int, per: bool) -> None:
    rng = np.random.default_rng(seed)
    lhs = rng.integers(-128, 128, (m, k)).astype(np.int8)
    rhs = rng.integers(-128, 128, (k, n)).astype(np.int8)
    z = rng.integers(-128, 128, (m, 1) if per else (1, 1))
    v = rng.integers(-128, 128, (1, n) if per else (1, 1))
    want = reference.matmul((lhs - z).tolist(), (rhs - v).tolist()) if k else [[0] * n] * m
    adders = zero_point_terms(lhs, rhs, z, v)
    channel = zero_point_terms(lhs, rhs, z, v, sums="channel")
    assert adders.total.tolist() == want
    for a, b in zip(adders, channel, strict=True):
        np.testing.assert_array_equal(a, b)
    # A nine-bit multiplier array gives the same integers without any correction.
    assert matmul(lhs - z, rhs - v).tolist() == want


def test_terms_are_the_four_of_the_expansion() -> None:
    terms = zero_point_terms([[1, 2]], [[3], [4]], lhs_zero=5, rhs_zero=7)
    assert [int(t[0, 0]) for t in terms] == [11, -7 * 3, -5 * 7, 2 * 5 * 7]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lhs_zero": [[1, 2]]}, "lhs_zero must not vary along the reduction, not have shape (1, 2)"),
        ({"rhs_zero": [[1], [2]]}, "rhs_zero must not vary along the reduction, not have shape (2, 1)"),
        ({"rhs_zero": [1, 2]}, "rhs_zero must be a scalar or have its reduction axis of length 1, not shape (2,)"),
        ({"lhs_zero": [[1], [2]]}, "zero points must broadcast to the outputs (1, 1), not (2, 1) and ()"),
        ({"sums": "both"}, "sums must be adders or channel, not 'both'"),
    ],
)
def test_bad_zero_points_get_one_clear_error(change: dict[str, Any], text: str) -> None:
    call: dict[str, Any] = {"lhs": [[1, 2]], "rhs": [[3], [4]]} | change
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        zero_point_terms(**call)
