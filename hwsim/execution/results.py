"""From sums to results: rescaling, dequantization, requantization."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwsim import datapath
from hwsim.execution.preparation import output_layout
from hwsim.execution.quantization import rounded
from hwsim.execution.state import needed
from quant import QTensor, quantize_operand

if TYPE_CHECKING:
    from hwsim.execution.quantization import Float32
    from hwsim.execution.state import State
    from hwsim.plan import Requantize, RescalePartialSums
    from quant.formats import IntArray


def rescale(state: State, step: RescalePartialSums) -> None:
    """Join partial sums: in float32, or as integers behind a multiplier and a shifter."""
    if step.kind != "float":
        state.joined = _join(state, step)
        return
    total = np.zeros(state.sums[0].shape, np.float32)
    for (start, _), sums in zip(state.segments(), state.sums, strict=True):
        lhs_scale, rhs_scale = state.scales(start)
        total += (lhs_scale * rhs_scale) * sums.astype(np.float32)
    state.values = total


def dequantize(state: State) -> None:
    """``lhs_scale * (rhs_scale * float32(sum))``; joined sums are first multiplied by their power of two, exactly."""
    if state.joined is None:
        lhs_scale, rhs_scale = state.scales(0)
        state.values = lhs_scale * (rhs_scale * state.sums[0].astype(np.float32))
        return
    total, exponent = state.joined
    lhs_scale, rhs_scale = _constant_scales(state)
    state.values = lhs_scale * (rhs_scale * np.ldexp(total.astype(np.float32), exponent))


def requantize(state: State, step: Requantize) -> None:
    """Multiply by one fixed ratio of scales for each output channel, round, and add the zero point."""
    out = state.prepared.static["out"]
    lhs_scale, rhs_scale = state.scales(0)
    # Static scales do not vary along tokens: one multiplier for each output channel.
    profile: str | datapath.Profile = step.profile
    if step.unit == "fixed" and step.multiplier_bits < 32:
        profile = datapath.multiplier_profile(step.multiplier_bits)
    multiplier = datapath.output_multiplier(lhs_scale[:, :1], rhs_scale, out.scales[0].reshape(()), profile)
    zero = 0 if out.zero_point is None else int(out.zero_point.reshape(()))
    bounds = None
    if step.clamp is not None:
        bounds = datapath.activation_clamp(step.clamp, float(out.scales[0].reshape(())), zero, step.target)
    codes = datapath.requantize(
        state.sums[0], multiplier, profile=profile, zero_point=zero, output=step.target, clamp=bounds
    )
    state.values = (codes.astype(np.int32) - zero).astype(np.float32) * out.scales[0].reshape(())
    state.codes = QTensor(
        codes=state.contraction.from_gemm(codes, state.sizes()),
        format=out.format,
        layout=out.layout,
        scales=out.scales,
        zero_point=out.zero_point,
    )


def quantize_result(state: State) -> None:
    """Quantize float results with the static scales of the output."""
    spec = needed(state.plan.scheme.output)
    values = rounded(needed(state.values), state.carrier)
    result = state.contraction.from_gemm(values, state.sizes())
    state.codes = quantize_operand(result, spec, output_layout(state.plan), state.prepared.static["out"])
    c = state.contraction
    order = [c.out.index(label) for label in (*c.batch, *c.rows, *c.outer_rhs)]
    state.values = state.codes.dequantize().transpose(order).reshape(values.shape)


def _join(state: State, step: RescalePartialSums) -> tuple[IntArray, IntArray]:
    """Shift and add partial sums, aligned at the smallest scale of each output that the shifter reaches.

    Where scales lie further apart than that, lower sums are shifted right, towards minus infinity.

    Returns
    -------
    total : int64 [batch, m, n]
    exponent : int64
        Power of two that one unit stands for.
    """
    moving = {(one.operand, one.level) for one in needed(state.plan.verdict).varying}
    planes = [_moving_scale(q, {level for side, level in moving if side == role}) for role, q in _sides(state)]
    powers, factors = (state.planes(*pair) for pair in zip(*planes, strict=True))
    starts = [start for start, _ in state.segments()]
    exponents = [powers[0][..., at : at + 1] + powers[1][..., at : at + 1, :] for at in starts]
    base = np.maximum(
        functools.reduce(np.minimum, exponents), functools.reduce(np.maximum, exponents) - np.int16(step.reach)
    )
    total = np.zeros(state.sums[0].shape, np.int64)
    for at, exponent, sums in zip(starts, exponents, state.sums, strict=True):
        part = sums.astype(np.int64)
        if step.factor_bits:
            part *= factors[0][..., at : at + 1] * factors[1][..., at : at + 1, :]
        shift = (exponent - base).astype(np.int64)
        far = shift < 0
        if far.any():
            part = np.where(far, part >> np.minimum(np.abs(shift), 63), part << np.maximum(shift, 0))
        else:
            part <<= shift
        total += part
    return total, base.astype(np.int64)


def _sides(state: State) -> tuple[tuple[str, QTensor], tuple[str, QTensor]]:
    return ("lhs", state.q["lhs"]), ("rhs", state.q["rhs"])


def _moving_scale(q: QTensor, levels: set[int]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Exponent and integer factor of the levels that change along the reduction, for each element."""
    power, factor = np.zeros(q.shape, np.int16), np.ones(q.shape, np.int64)
    for index in levels:
        level = q.layout.levels[index]
        scale = level.expand(q.scales[index], q.layout.axes, q.shape)
        if level.kind == "pow2":
            power = power + (np.frexp(scale)[1] - 1).astype(np.int16)
        else:
            factor = factor * scale.astype(np.int64)
    return power, factor


def _constant_scales(state: State) -> tuple[Float32, Float32]:
    """Product of the levels that do not change along the reduction, ``[batch, m, 1]`` and ``[batch, 1, n]``."""
    moving = {(one.operand, one.level) for one in needed(state.plan.verdict).varying}
    planes = []
    for role, q in _sides(state):
        plane = np.ones(q.shape, np.float32)
        for index, level in enumerate(q.layout.levels):
            if (role, index) not in moving:
                plane = plane * level.expand(q.scales[index], q.layout.axes, q.shape)
        planes.append(plane)
    a, b = state.planes(*planes)
    return a[..., :1], b[..., :1, :]
