"""What the array does: products, look-ups, the sums that zero points need, and the start of the accumulators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsim import datapath
from hwsim.execution.quantization import rounded
from hwsim.execution.state import needed

if TYPE_CHECKING:
    from hwsim.execution.state import State
    from hwsim.plan import MultiplyAccumulate
    from quant.formats import IntArray


def multiply_floats(state: State, step: MultiplyAccumulate) -> None:
    """Multiply carrier operands; sums are float32 in the order of BLAS, rounded to the carrier once."""
    constant = state.prepared.weight_values
    rhs = rounded(needed(state.rhs), step.rhs) if constant is None else constant
    a, b = state.gemm(rounded(state.lhs, step.lhs), rhs)
    bias = 0 if state.prepared.bias is None else state.prepared.bias
    with np.errstate(over="ignore", invalid="ignore"):  # said below, with the layer's name
        sums = np.matmul(a, b) + bias
    state.plan.layer.require_finite(sums, a, b)
    state.values = rounded(sums, step.lhs)


def multiply_integers(state: State) -> None:
    """Sum integer products, one segment of the reduction after the other."""
    a, b = state.integers
    for start, stop in state.segments():
        state.sums.append(
            datapath.matmul(a[..., start:stop], b[..., start:stop, :], state.accumulator, initial=state.initial)
        )
    state.delivered = tuple(state.sums)


def look_up(state: State) -> None:
    """Sum the table entries that the pieces of each row choose."""
    tables = needed(state.prepared.prototypes).tables.integers
    initial = 0 if state.initial is None else state.initial.reshape(1, 1, -1)
    sums = datapath.lookup_and_add(needed(state.pieces), tables, state.accumulator, initial=initial)
    state.sums.append(sums[None])
    state.delivered = tuple(state.sums)


def correct(state: State) -> None:
    """Subtract what the zero points added, except for terms already preloaded."""
    for index, (start, stop) in enumerate(state.segments()):
        terms = _correction(state, start, stop, offline=False)
        if state.preloads_terms:
            terms = terms - _correction(state, start, stop, offline=True)
        state.sums[index] = state.fitted(state.sums[index].astype(np.int64) + terms, stop - start)


def preload(state: State) -> None:
    """Start the accumulators at the integer bias and the zero-point terms of constants."""
    bias = state.prepared.bias
    lhs_scale, rhs_scale = state.scales(0)
    initial = np.zeros((1, 1, state.plan.mac.n), np.int64)
    if bias is not None:
        # int32 bias at scale lhs_scale * rhs_scale with zero point 0 (TensorFlow Lite 8-bit specification)
        initial = initial + np.rint(bias / (lhs_scale * rhs_scale).astype(np.float64)).astype(np.int64)
    if state.preloads_terms and any(q.zero_point is not None for q in state.q.values()):
        initial = initial + _correction(state, 0, state.plan.mac.k, offline=True)
    state.initial = state.fitted(initial, 0)


def _correction(state: State, start: int, stop: int, *, offline: bool) -> IntArray:
    """Zero-point terms of one segment; `offline` those that need constants only."""
    lhs, rhs = state.integers
    z_lhs, z_rhs = _zero_points(state, start)
    rhs_sums = rhs[..., start:stop, :].sum(axis=-2, keepdims=True, dtype=np.int64)
    constant = -z_lhs * rhs_sums + (stop - start) * z_lhs * z_rhs
    if offline or state.q["rhs"].zero_point is None:
        return np.asarray(constant)
    return np.asarray(constant - z_rhs * lhs[..., start:stop].sum(axis=-1, keepdims=True, dtype=np.int64))


def _zero_points(state: State, at: int) -> tuple[IntArray, IntArray]:
    zeros = ((q, q.element_zero_point()) for q in (state.q["lhs"], state.q["rhs"]))
    a, b = state.planes(*(np.broadcast_to(np.int64(0), q.shape) if zero is None else zero for q, zero in zeros))
    return a[..., at : at + 1].astype(np.int64), b[..., at : at + 1, :].astype(np.int64)
