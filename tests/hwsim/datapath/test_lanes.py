"""The kernels on processors with narrower vectors: other tiles, the same integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hwsim.datapath import Accumulator, activity_kernels, lanes, matmul, measure_activity, record_kernels, step_kernels
from hwsim.datapath.records import record
from hwsim.datapath.walk import walk
from quant import Overflow
from tests.hwsim.datapath.test_activity import brute_force

SATURATE, WRAP = Overflow.SATURATE, Overflow.WRAP
CACHES = (
    lanes.width,
    step_kernels.kernel,
    record_kernels.recording_kernel,
    activity_kernels.toggle_kernel,
)


@pytest.fixture(params=[128, 256])
def narrower(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Compile for narrower vectors; every processor runs those."""
    bits: int = request.param
    monkeypatch.setattr(lanes, "vector_bits", lambda: bits)
    for cache in CACHES:
        cache.cache_clear()
    yield bits
    for cache in CACHES:
        cache.cache_clear()


@pytest.mark.parametrize(
    "accumulator",
    [
        Accumulator(16, SATURATE),
        Accumulator(17, SATURATE),
        Accumulator(18, SATURATE, dropped_bits=4),
        Accumulator(27, SATURATE, dot_depth=2, tree_bits=14),
        Accumulator(16, SATURATE, dot_depth=2, tree_bits=16, spill_steps=8),
        Accumulator(20, WRAP, dot_depth=3, dropped_bits=5),
    ],
    ids=str,
)
def test_steps_agree_with_the_walk(accumulator: Accumulator, narrower: int) -> None:
    assert lanes.width() == 16
    assert lanes.lanes_of("float32") == narrower // 32
    rng = np.random.default_rng(7)
    lhs, rhs = (
        rng.integers(-128, 128, (1, 5, 130)).astype(np.int8),
        rng.integers(-128, 128, (1, 130, 35)).astype(np.int8),
    )
    start = np.zeros((1, 5, 35), np.int64)
    want = walk(lhs, rhs, start, accumulator)
    np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), want.register)
    got = record(lhs, rhs, start, accumulator)
    assert got is not None
    for field in want._fields:
        np.testing.assert_array_equal(getattr(got, field), getattr(want, field), err_msg=field)


@pytest.mark.usefixtures("narrower")
def test_toggles_are_those_of_every_register() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (5, 7)).astype(np.int8), rng.integers(-128, 128, (7, 13)).astype(np.int8)
    got = measure_activity(lhs, rhs, rows=3, columns=11)
    counted = [got.lhs_toggles, got.rhs_toggles, got.product_toggles, got.accumulator_toggles]
    assert counted == brute_force(lhs.tolist(), rhs.tolist(), 3, 11, "output_stationary")
