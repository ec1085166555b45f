"""Orders of accumulation against loops that are written out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hwsim.datapath import Accumulator, conv2d, matmul, reduction_order
from quant import Overflow
from tests import reference


def test_a_matrix_walks_its_tiles_one_after_the_other() -> None:
    assert reduction_order({"k": 7}, ("k",)).tolist() == list(range(7))
    assert reduction_order({"k": 7}, ("k:3", "k")).tolist() == list(range(7))


def test_nested_loops_are_those_written_out() -> None:
    sizes = {"c": 7, "r": 3, "s": 2}
    want = [
        (c * 3 + r) * 2 + s
        for tile in range(0, 7, 4)
        for s in range(2)
        for half in range(tile, min(tile + 4, 7), 2)
        for r in range(3)
        for c in range(half, min(half + 2, 7))
    ]
    assert reduction_order(sizes, ("c:4", "s", "c:2", "r", "c")).tolist() == want


def test_lanes_that_take_every_other_element_are_a_split_axis() -> None:
    # Four lanes of a tree, each with a quarter of the reduction: two axes, the outer one innermost.
    order = reduction_order({"lane": 4, "step": 5}, ("step", "lane"))
    assert order[:4].tolist() == [0, 5, 10, 15]


def test_the_order_reaches_the_accumulators() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.integers(-128, 128, (1, 5, 3, 3)).astype(np.int8), rng.integers(-128, 128, (2, 5, 3, 3)).astype(np.int8)
    order = reduction_order({"c": 5, "r": 3, "s": 3}, ("c:2", "r", "s", "c"))
    accumulator = Accumulator(16, Overflow.SATURATE)
    got = conv2d(x, w, accumulator, order=order)
    for m in range(2):
        lhs, rhs = (v.reshape(-1)[order].tolist() for v in (x, w[m]))
        want = reference.accumulate(lhs, rhs, 16, "SATURATE").register
        assert got[0, m, 0, 0] == want
        assert matmul(x.reshape(1, -1), w[m].reshape(-1, 1), accumulator, order=order)[0, 0] == want
    assert not np.array_equal(got, conv2d(x, w, accumulator))


@pytest.mark.parametrize(
    ("loops", "text"),
    [
        (("c", "k"), "loop must be over one of c, r, not 'k'"),
        (("c:0", "c", "r"), "step of a loop must be at least 1, not 'c:0'"),
        (("c:2", "r"), "every axis must have a loop over its elements, not none over c"),
    ],
)
def test_bad_loops_get_one_clear_error(loops: tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        reduction_order({"c": 4, "r": 2}, loops)
