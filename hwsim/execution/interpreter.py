"""Run the steps of a plan in order."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim import datapath
from hwsim import plan as steps
from hwsim.execution.migration import along
from hwsim.execution.preparation import output_layout
from hwsim.execution.quantization import Float32, quantized, rounded
from hwsim.lowering import operands
from quant import Contraction, FloatFormat, Format, IntFormat, Overflow, QTensor, parse_format, quantize_operand

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.execution.preparation import Prepared

IntArray = npt.NDArray[np.signedinteger[Any]]


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
    """

    out: Float32
    codes: QTensor | None
    sums: tuple[IntArray, ...]


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
    state = _State(prepared, accelerator, lhs, rhs)
    for step in prepared.plan.steps:
        state.run(step)
    return state.finish()


@dataclass
class _State:
    """Registers of the interpreter: each step reads and writes some of them."""

    prepared: Prepared
    accelerator: Accelerator
    lhs: Float32
    rhs: Float32 | None
    q: dict[str, QTensor] = field(default_factory=dict)
    initial: IntArray | None = None
    sums: list[IntArray] = field(default_factory=list)
    delivered: tuple[IntArray, ...] = ()
    values: Float32 | None = None
    codes: QTensor | None = None

    def __post_init__(self) -> None:
        self.plan = self.prepared.plan
        self.contraction = Contraction.parse(self.plan.layer.contraction)
        self.operands = dict(zip(("lhs", "rhs"), operands(self.plan.layer, self.plan.scheme), strict=True))
        if self.prepared.weight is not None and self.plan.mac.unit != "float":
            self.q["rhs"] = self.prepared.weight

    def run(self, step: steps.Step) -> None:  # noqa: C901  one case for each kind of step
        """Do one step."""
        match step:
            case steps.Migrate():
                x = self.lhs if step.folded else step.source.round(self.lhs)
                self.lhs = x / along(self._needed(self.prepared.migration), self.contraction, self.contraction.lhs)
            case steps.Quantize(operand="out"):
                self._quantize_result()
            case steps.Quantize():
                x = self.lhs if step.operand == "lhs" else self._needed(self.rhs)
                if step.dynamic and not (step.operand == "lhs" and self.prepared.migration is not None):
                    x = step.source.round(x)  # as it came from memory
                self.q[step.operand] = quantized(self.operands[step.operand], x, self.prepared.static.get(step.operand))
            case steps.AddBias():
                self._add_bias(step)
            case steps.MultiplyAccumulate(unit="float"):
                self._multiply_floats(step)
            case steps.MultiplyAccumulate():
                self._multiply_integers()
            case steps.RescalePartialSums():
                self._rescale(step)
            case steps.Dequantize():
                self._dequantize(step)
            case steps.Requantize():
                self._requantize(step)
            case steps.CorrectZeroPoints():
                self._correct()
            case steps.ScanRange() | steps.DequantizeWeights() | steps.Decode() | steps.SumForZeroPoint():
                # The range is taken with the quantization, weights were decoded offline to the very values that
                # the table or the converter delivers, and sums are taken where they are used.
                pass

    def finish(self) -> Execution:
        """Hand the result over in the axes of the contraction."""
        values = self._needed(self.values)
        out = self.contraction.from_gemm(values, self._sizes())
        return Execution(np.ascontiguousarray(out, dtype=np.float32), self.codes, self.delivered)

    @staticmethod
    def _needed(value: Any) -> Any:
        if value is None:
            msg = "plan must compute a value before a step reads it"
            raise ValueError(msg)
        return value

    def _sizes(self) -> dict[str, int]:
        lhs = dict(zip(self.contraction.lhs, self.lhs.shape, strict=True))
        source = self.q["rhs"].shape if "rhs" in self.q else self._rhs_values().shape
        return {**lhs, **dict(zip(self.contraction.rhs, source, strict=True))}

    def _rhs_values(self) -> Float32:
        values: Float32 = self.prepared.weight_values if self.prepared.weight_values is not None else self.rhs  # type: ignore[assignment]
        return values

    def _gemm(self, lhs: npt.NDArray[Any], rhs: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self.contraction.to_gemm(lhs, rhs)

    def _multiply_floats(self, step: steps.MultiplyAccumulate) -> None:
        """Products of carrier operands, summed in float32 in the order of BLAS, rounded to the carrier once."""
        rhs = self._rhs_values() if self.prepared.weight_values is not None else rounded(self._rhs_values(), step.rhs)
        a, b = self._gemm(rounded(self.lhs, step.lhs), rhs)
        bias = 0 if self.prepared.bias is None else self.prepared.bias
        self.values = rounded(np.matmul(a, b) + bias, step.lhs)

    def _multiply_integers(self) -> None:
        a, b = self._gemm(self.q["lhs"].integers, self.q["rhs"].integers)
        spec = self.accelerator.accumulator
        accumulator = datapath.Accumulator(
            spec.bits, Overflow(spec.overflow), dot_depth=self.accelerator.array.dot_depth
        )
        for start, stop in self._segments():
            self.sums.append(
                datapath.matmul(a[..., start:stop], b[..., start:stop, :], accumulator, initial=self.initial)
            )
        self.delivered = tuple(self.sums)

    def _segments(self) -> list[tuple[int, int]]:
        starts = self.plan.mac.boundaries
        return list(zip(starts, (*starts[1:], self.plan.mac.k), strict=True))

    def _scales(self, at: int) -> tuple[Float32, Float32]:
        """Scales of both operands at one index of the reduction, ``[batch, m, 1]`` and ``[batch, 1, n]``."""
        a, b = self._scale_planes
        return a[..., at : at + 1], b[..., at : at + 1, :]

    @functools.cached_property
    def _scale_planes(self) -> tuple[Float32, Float32]:
        return self._gemm(self.q["lhs"].element_scale(), self.q["rhs"].element_scale())

    def _zero_points(self, at: int) -> tuple[IntArray, IntArray]:
        a, b = self._zero_planes
        return a[..., at : at + 1].astype(np.int64), b[..., at : at + 1, :].astype(np.int64)

    @functools.cached_property
    def _zero_planes(self) -> tuple[IntArray, IntArray]:
        zeros = ((q, q.element_zero_point()) for q in (self.q["lhs"], self.q["rhs"]))
        lhs, rhs = (np.broadcast_to(np.int64(0), q.shape) if zero is None else zero for q, zero in zeros)
        return self._gemm(lhs, rhs)

    def _correction(self, start: int, stop: int, *, offline: bool) -> IntArray:
        """Zero-point terms of one segment; `offline` those that need constants only."""
        lhs, rhs = self._gemm(self.q["lhs"].integers, self.q["rhs"].integers)
        z_lhs, z_rhs = self._zero_points(start)
        rhs_sums = rhs[..., start:stop, :].sum(axis=-2, keepdims=True, dtype=np.int64)
        constant = -z_lhs * rhs_sums + (stop - start) * z_lhs * z_rhs
        if offline or self.q["rhs"].zero_point is None:
            return np.asarray(constant)
        return np.asarray(constant - z_rhs * lhs[..., start:stop].sum(axis=-1, keepdims=True, dtype=np.int64))

    @property
    def _preloads_terms(self) -> bool:
        return self.plan.layer.rhs_kind == "weight" and any(
            isinstance(s, steps.AddBias) and not isinstance(s.target, FloatFormat) for s in self.plan.steps
        )

    def _correct(self) -> None:
        """Subtract what the zero points added, except for terms already preloaded."""
        for index, (start, stop) in enumerate(self._segments()):
            terms = self._correction(start, stop, offline=False)
            if self._preloads_terms:
                terms = terms - self._correction(start, stop, offline=True)
            self.sums[index] = self._fitted(self.sums[index].astype(np.int64) + terms, stop - start)

    def _fitted(self, sums: IntArray, step: int) -> IntArray:
        """Bring a sum into the accumulator: preloads and corrections overflow as products do."""
        form = IntFormat(self.accelerator.accumulator.bits)
        match Overflow(self.accelerator.accumulator.overflow):
            case Overflow.WRAP:
                return np.asarray(((sums - form.lo) & ((1 << form.bits) - 1)) + form.lo) if form.bits < 64 else sums
            case Overflow.SATURATE:
                return np.asarray(np.clip(sums, form.lo, form.hi))
            case Overflow.TRAP:
                outside = np.argwhere((sums < form.lo) | (sums > form.hi))
                if len(outside):
                    at = tuple(int(i) for i in outside[0])
                    raise datapath.AccumulatorOverflowError(at, step, int(sums[at]), form.name)
                return sums

    def _add_bias(self, step: steps.AddBias) -> None:
        bias = self.prepared.bias
        if isinstance(step.target, FloatFormat):
            if self.plan.mac.unit != "float":  # a float MAC adds it before its one rounding
                self.values = rounded(self._needed(self.values) + bias, step.target)
            return
        lhs_scale, rhs_scale = self._scales(0)
        initial = np.zeros((1, 1, self.plan.mac.n), np.int64)
        if bias is not None:
            # int32 bias at scale lhs_scale * rhs_scale with zero point 0 (TensorFlow Lite 8-bit specification)
            initial = initial + np.rint(bias / (lhs_scale * rhs_scale).astype(np.float64)).astype(np.int64)
        if self._preloads_terms and not all(q.zero_point is None for q in (self.q["lhs"], self.q["rhs"])):
            initial = initial + self._correction(0, self.plan.mac.k, offline=True)
        self.initial = self._fitted(initial, 0)

    def _rescale(self, step: steps.RescalePartialSums) -> None:
        dtype = np.float32 if step.kind == "float" else np.float64
        total = np.zeros(self.sums[0].shape, dtype)
        for (start, _), sums in zip(self._segments(), self.sums, strict=True):
            lhs_scale, rhs_scale = self._scales(start)
            total += (lhs_scale.astype(dtype) * rhs_scale.astype(dtype)) * sums.astype(dtype)
        values = total.astype(np.float32)
        # The bias joins before the carrier rounds, if there is one.
        self.values = values if self.plan.layer.bias is not None else rounded(values, self._carrier)

    @property
    def _carrier(self) -> Format:
        return parse_format(self.plan.scheme.carrier)

    def _dequantize(self, step: steps.Dequantize) -> None:
        lhs_scale, rhs_scale = self._scales(0)
        values = lhs_scale * (rhs_scale * self.sums[0].astype(np.float32))
        # The bias joins before the carrier rounds, if there is one.
        self.values = values if self.plan.layer.bias is not None else rounded(values, step.target)

    def _requantize(self, step: steps.Requantize) -> None:
        out = self.prepared.static["out"]
        lhs_scale, rhs_scale = self._scales(0)
        # Static scales do not vary along tokens: one multiplier for each output channel.
        profile: str | datapath.Profile = step.profile
        if step.unit == "fixed" and step.multiplier_bits < 32:
            profile = datapath.multiplier_profile(step.multiplier_bits)
        multiplier = datapath.output_multiplier(lhs_scale[:, :1], rhs_scale, out.scales[0].reshape(()), profile)
        zero = 0 if out.zero_point is None else int(out.zero_point.reshape(()))
        codes = datapath.requantize(self.sums[0], multiplier, profile=profile, zero_point=zero, output=step.target)
        self._deliver(codes, out)

    def _quantize_result(self) -> None:
        spec = self._needed(self.plan.scheme.output)
        out = self.prepared.static["out"]
        result = self.contraction.from_gemm(self._needed(self.values), self._sizes())
        self.codes = quantize_operand(result, spec, output_layout(self.plan), out)
        self.values = self._needed(self.values) * 0 + self._as_gemm(self.codes.dequantize())

    def _deliver(self, codes: IntArray, like: QTensor) -> None:
        zero = 0 if like.zero_point is None else like.zero_point.reshape(())
        self.values = (codes.astype(np.int32) - zero).astype(np.float32) * like.scales[0].reshape(())
        shaped = self.contraction.from_gemm(codes, self._sizes())
        self.codes = QTensor(
            codes=shaped, format=like.format, layout=like.layout, scales=like.scales, zero_point=like.zero_point
        )

    def _as_gemm(self, out: Float32) -> Float32:
        """Reshape a result in the axes of the contraction to ``[batch, m, n]``."""
        c = self.contraction
        order = [c.out.index(label) for label in (*c.batch, *c.outer_lhs, *c.outer_rhs)]
        return out.transpose(order).reshape(self._needed(self.values).shape)
