"""Run the steps of a plan in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim import plan as steps
from hwsim.execution import outliers, results, sums
from hwsim.execution.migration import along
from hwsim.execution.quantization import Float32, quantized, rounded
from hwsim.execution.repetition import repeat_activation
from hwsim.execution.rotation import rotate_activation
from hwsim.execution.state import State, needed
from quant import FloatFormat
from quant.formats import IntArray

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.execution.preparation import Prepared
    from quant import QTensor


TRANSFORMS = steps.Migrate | steps.Rotate | steps.RepeatChannels
"""Steps that change an activation, and have rounded it as memory does, before it is quantized."""


@dataclass(frozen=True)
class Execution:
    """Result of one call.

    Parameters
    ----------
    out : float32
        Real values of the result, in the axes of the contraction's output.
    codes
        The result as integers, where the plan delivers integers.
    sums : int [batch, m, n] of each segment
        Accumulators as the array delivered them; empty for a float MAC.
    outlier_channels : int
        Steps of the reduction that were multiplied in floating point; None where the plan splits none.
    """

    out: Float32
    codes: QTensor | None
    sums: tuple[IntArray, ...]
    outlier_channels: IntArray | None = None


def execute(prepared: Prepared, lhs: Float32, rhs: Float32 | None, accelerator: Accelerator) -> Execution:
    """Run one call of a plan.

    Parameters
    ----------
    lhs : float32
        Left operand, in its axes of the contraction.
    rhs : float32
        Right operand of a product of activations; ignored where the weight is prepared.
    accelerator
        Whose accumulator adds the products.

    Raises
    ------
    ValueError
        If an operand is not finite or does not contract.
    AccumulatorOverflowError
        If an accumulator that traps leaves its range.
    """
    state = State(prepared, accelerator, lhs, rhs)
    for step in prepared.plan.steps:
        _run(state, step)
    return _finish(state)


def array_operands(
    prepared: Prepared, lhs: Float32, rhs: Float32 | None, accelerator: Accelerator
) -> tuple[IntArray, IntArray]:
    """Return the integers that the array multiplies in one call.

    Returns
    -------
    lhs : int [batch, m, k]
    rhs : int [batch, k, n]

    Raises
    ------
    ValueError
        If the plan multiplies floats or looks products up, or an operand is not finite.
    """
    state = State(prepared, accelerator, lhs, rhs)
    for step in prepared.plan.steps:
        if isinstance(step, steps.MultiplyAccumulate):
            if step.unit not in {"multiply", "shift"}:
                break
            return state.integers
        _run(state, step)
    msg = f"plan of {prepared.plan.layer.name} must multiply integers, not {prepared.plan.mac.unit}"
    raise ValueError(msg)


def _run(state: State, step: steps.Step) -> None:  # noqa: C901, PLR0912  one case for each kind of step
    """Do one step."""
    match step:
        case steps.Migrate():
            x = state.lhs if step.folded else state.carrier.round(state.lhs)
            state.lhs = x / along(needed(state.prepared.migration), state.contraction, state.contraction.lhs)
        case steps.Rotate():
            x = state.lhs if step.at == "producer" else state.carrier.round(state.lhs)
            state.lhs = rotate_activation(state.plan, x)
        case steps.RepeatChannels():
            x = state.lhs if step.folded else state.carrier.round(state.lhs)
            axis = state.contraction.lhs.index(step.axis)
            state.lhs = repeat_activation(x, needed(state.prepared.copies), axis)
        case steps.ScanRange(finds="outliers"):
            outliers.split_outliers(state, step)
        case steps.Quantize(operand="out"):
            results.quantize_result(state)
        case steps.Quantize():
            _quantize(state, step)
        case steps.EncodePrototypes():
            rows, _ = state.gemm(state.q["lhs"].integers, np.zeros(state.plan.layer.rhs_shape, np.int8))
            state.pieces = needed(state.prepared.prototypes).encode(rows[0])
        case steps.AddBias():
            _add_bias(state, step)
        case steps.MultiplyAccumulate(unit="float"):
            sums.multiply_floats(state, step)
        case steps.MultiplyAccumulate(unit="lookup"):
            sums.look_up(state)
        case steps.MultiplyAccumulate():
            sums.multiply_integers(state)
        case steps.RescalePartialSums():
            results.rescale(state, step)
        case steps.Dequantize():
            results.dequantize(state)
        case steps.MultiplyOutliers():
            outliers.multiply_outliers(state, step)
        case steps.Requantize():
            results.requantize(state, step)
        case steps.CorrectZeroPoints():
            sums.correct(state)
        case steps.ScanRange() | steps.DequantizeWeights() | steps.Decode() | steps.SumForZeroPoint():
            # The range is taken with the quantization, weights were decoded offline to the very values that
            # the table or the converter delivers, and sums are taken where they are used.
            pass
        case steps.ApplyFunction():
            pass  # the network's own


def _quantize(state: State, step: steps.Quantize) -> None:
    x = state.lhs if step.operand == "lhs" else needed(state.rhs)
    transformed = step.operand == "lhs" and any(isinstance(s, TRANSFORMS) for s in state.plan.steps)
    if step.dynamic and not transformed:
        x = step.source.round(x)  # as it came from memory
    like = state.prepared.static.get(step.operand)
    state.q[step.operand] = quantized(state.operands[step.operand], x, like)


def _add_bias(state: State, step: steps.AddBias) -> None:
    if not isinstance(step.target, FloatFormat):
        sums.preload(state)
    elif state.plan.mac.unit != "float":  # a float MAC adds it before its one rounding
        state.values = needed(state.values) + state.prepared.bias


def _finish(state: State) -> Execution:
    """Hand the result over in the axes of the contraction; the carrier rounds what is no integer, once."""
    values = needed(state.values)
    if state.codes is None:
        values = rounded(values, state.carrier)
    out = state.contraction.from_gemm(values, state.sizes())
    out = np.ascontiguousarray(out, dtype=np.float32)
    return Execution(out, state.codes, state.delivered, state.outlier_channels)
