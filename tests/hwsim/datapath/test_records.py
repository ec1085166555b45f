"""Recorded steps in vector registers against the walk of every output by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwsim.datapath import Accumulator, records, tiles
from hwsim.datapath.walk import walk
from quant import Overflow

SATURATE, TRAP, WRAP = Overflow.SATURATE, Overflow.TRAP, Overflow.WRAP

ACCUMULATORS = [
    Accumulator(18, SATURATE),
    Accumulator(18, TRAP),
    Accumulator(8, WRAP, dot_depth=3),
    Accumulator(16, SATURATE, dropped_bits=3, dot_depth=2),
    Accumulator(30, SATURATE),
    Accumulator(16, SATURATE, spill_steps=13, spill_bits=17, spill_overflow=SATURATE),
    Accumulator(16, TRAP, spill_steps=5, spill_bits=18, spill_overflow=TRAP),
    Accumulator(16, WRAP, spill_steps=64, spill_bits=40, spill_overflow=WRAP),
    Accumulator(20, SATURATE, dot_depth=2, tree_bits=14, spill_steps=7, spill_bits=16, spill_overflow=SATURATE),
    Accumulator(16, SATURATE, dot_depth=5, tree_bits=14, tree_overflow=TRAP),
    Accumulator(16, SATURATE, dot_depth=3, tree_bits=12, tree_overflow=WRAP),
]


@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 64, 64), (3, 38, 3), (11, 257, 130)], ids=str)
@pytest.mark.parametrize("accumulator", ACCUMULATORS, ids=str)
def test_records_agree_with_the_walk(
    accumulator: Accumulator, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_WORTH_THREADS", 0)
    rng = np.random.default_rng(7)
    m, k, n = shape
    lhs, rhs = (np.clip(np.rint(rng.normal(0, 70, s)), -128, 127).astype(np.int8) for s in ((1, m, k), (1, k, n)))
    bits = accumulator.bits if accumulator.spill_steps is None else accumulator.spill_bits
    start = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (1, m, n))
    got = records.record(lhs, rhs, start, accumulator)
    assert got is not None
    for field, want in walk(lhs, rhs, start, accumulator)._asdict().items():
        np.testing.assert_array_equal(getattr(got, field), want, err_msg=field)


@pytest.mark.parametrize("value", [127, -128])
def test_a_register_along_the_rail_counts_every_step_that_it_would_leave(value: int) -> None:
    lhs: np.ndarray[Any, Any] = np.full((1, 2, 40), value, np.int8)
    rhs: np.ndarray[Any, Any] = np.full((1, 40, 3), 127, np.int8)
    got = records.record(lhs, rhs, np.zeros((1, 2, 3), np.int64), Accumulator(16, SATURATE))
    assert got is not None
    product = value * 127
    assert got.register[0, 0, 0] == (32767 if value > 0 else -32768)
    # Two products of 127 * 127 fit, two of -128 * 127 fit, a third does not.
    assert (got.first[0, 1, 2], got.overflows[0, 1, 2]) == (2, 38)
    assert (got.low[0, 0, 0], got.high[0, 0, 0]) == (min(0, 40 * product), max(0, 40 * product))


def test_what_floats_cannot_hold_is_left_to_the_walk() -> None:
    ones = np.ones((1, 2, 2), np.int8)
    assert records.record(ones, ones, np.zeros((1, 2, 2), np.int64), Accumulator(60)) is None
    assert records.record(ones, ones, np.zeros((1, 2, 2), np.int64), Accumulator(50)) is not None
