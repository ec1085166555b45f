"""Several arrays, register by register: the integers of one, and the cycles of the closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.datapath import Accumulator, matmul
from hwsim.timing import closed_form, run_array, timing_row
from quant import Scheme
from quant.formats import Overflow
from tests.hwsim.machines import machine
from workloads import Layer

DATAFLOWS = ["output_stationary", "weight_stationary", "input_stationary"]
CONVENTIONS: list[dict[str, Any]] = [
    {},
    {"double_buffered": True},
    {"double_buffered": True, "overlap_folds": True},
    {"drain": "shift"},
]
SCHEME = Scheme.load("w8a8-static")


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 17)] * 3), batch=st.integers(1, 3), arrays=st.integers(1, 5),
    convention=st.sampled_from(CONVENTIONS), depth=st.integers(1, 2),
)  # fmt: skip
def test_cycles_are_those_of_the_closed_form(
    dataflow: str, sizes: tuple[int, int, int], batch: int, arrays: int, convention: dict[str, Any], depth: int
) -> None:
    if dataflow == "output_stationary" and "double_buffered" in convention:
        convention = {"overlap_folds": True} if "overlap_folds" in convention else {}
    changes = {f"array__{name}": value for name, value in convention.items()}
    accelerator = machine(arrays=arrays, array__dataflow=dataflow, array__dot_depth=depth, **changes)
    m, k, n = sizes
    layer = Layer("gemm", "bmk,bkn->bmn", {"b": batch, "m": m, "k": k, "n": n}, "x", "w", "y")
    plan = hwsim.lower(layer, SCHEME, accelerator)
    row, _ = timing_row(plan, accelerator, "register")
    assert row["total_cycles"] == closed_form(plan, accelerator).compute_cycles
    if batch == 1:
        rng = np.random.default_rng(0)
        lhs, rhs = rng.integers(-128, 128, (m, k)), rng.integers(-127, 128, (k, n))
        run = run_array(lhs, rhs, accelerator.array, arrays=arrays)
        assert run.total_cycles == row["total_cycles"]
        np.testing.assert_array_equal(run.out, lhs @ rhs)
        assert run.busy.sum() == m * n * -(-k // depth)


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_integers_are_those_of_one_array(dataflow: str, overflow: Overflow) -> None:
    array = machine(array__dataflow=dataflow).array
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (13, 29)), rng.integers(-128, 128, (29, 11))
    accumulator = Accumulator(16, overflow)
    one = run_array(lhs, rhs, array, accumulator)
    several = run_array(lhs, rhs, array, accumulator, arrays=3)
    np.testing.assert_array_equal(several.out, matmul(lhs, rhs, accumulator))
    np.testing.assert_array_equal(several.out, one.out)
    assert several.total_cycles < one.total_cycles
    assert several.leave_cycles.max() == several.total_cycles - 1
    assert several.busy.sum() == one.busy.sum()
    assert several.elements == 3 * one.elements


def test_tiles_dealt_by_hand() -> None:
    """Five tiles of one row each on two arrays: three for the first, two for the second."""
    array = machine(array__rows=1, array__columns=1).array
    lhs = np.arange(1, 6).reshape(5, 1)
    run = run_array(lhs, [[2]], array, arrays=2)
    assert run.out.ravel().tolist() == [2, 4, 6, 8, 10]
    assert run.leave_cycles.ravel().tolist() == [0, 1, 2, 0, 1]
    assert run.busy.tolist() == [2, 2, 1]


def test_no_array_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^arrays must be 1 or more, not 0$"):
        run_array([[1]], [[1]], machine().array, arrays=0)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("batch", [1, 2])
def test_segments_are_shared_too(dataflow: str, batch: int) -> None:
    accelerator = machine(arrays=3, array__dataflow=dataflow)
    sizes = {"b": batch, "m": 11, "k": 80, "n": 7}
    layer = Layer("gemm", "bmk,bkn->bmn", sizes, "x", "w", "y")
    plan = hwsim.lower(layer, Scheme.load("mxint8"), accelerator)
    assert plan.mac.segments == 3
    row, _ = timing_row(plan, accelerator, "register")
    assert row["total_cycles"] == closed_form(plan, accelerator).compute_cycles
