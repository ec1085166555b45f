"""Registers of the interpreter, and the operands as matrices."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim import datapath
from hwsim import plan as steps
from hwsim.lowering import operands
from quant import Contraction, FloatFormat, IntFormat, Overflow, QTensor, parse_format
from quant.formats import IntArray

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.execution.preparation import Prepared
    from hwsim.execution.quantization import Float32


def needed(value: Any) -> Any:
    """Return a register that an earlier step must have written.

    Raises
    ------
    ValueError
        If none has.
    """
    if value is None:
        msg = "plan must compute a value before a step reads it"
        raise ValueError(msg)
    return value


@dataclass
class State:
    """Registers of the interpreter: each step reads and writes some of them.

    Parameters
    ----------
    q
        Quantized operands, by role.
    pieces : int [m, c]
        Indices of prototypes.
    outliers : float32 [batch, m, channels], [batch, channels, n]
        Operands of the product beside the array.
    outlier_channels : int [channels]
        Steps of the reduction that it takes.
    initial
        Start of the accumulators.
    sums
        One array for each segment; `delivered` as they left the array.
    joined : int64 [batch, m, n], int64
        Partial sums joined as integers, and the power of two that one of their units stands for.
    values : float32 [batch, m, n]
        Real results.
    codes
        Integer results.
    """

    prepared: Prepared
    accelerator: Accelerator
    lhs: Float32
    rhs: Float32 | None
    q: dict[str, QTensor] = field(default_factory=dict)
    pieces: IntArray | None = None
    outliers: tuple[Float32, Float32] | None = None
    outlier_channels: IntArray | None = None
    initial: IntArray | None = None
    sums: list[IntArray] = field(default_factory=list)
    delivered: tuple[IntArray, ...] = ()
    joined: tuple[IntArray, IntArray] | None = None
    values: Float32 | None = None
    codes: QTensor | None = None

    def __post_init__(self) -> None:
        self.plan = self.prepared.plan
        self.contraction = Contraction.parse(self.plan.layer.contraction)
        self.operands = dict(zip(("lhs", "rhs"), operands(self.plan.layer, self.plan.scheme), strict=True))
        if self.prepared.weight is not None and self.plan.mac.unit != "float":
            self.q["rhs"] = self.prepared.weight

    @property
    def carrier(self) -> FloatFormat:
        """Format of values that are no integers."""
        carrier = parse_format(self.plan.scheme.carrier)
        if not isinstance(carrier, FloatFormat):  # schemes admit no other; for the type checker
            raise TypeError
        return carrier

    @property
    def accumulator(self) -> datapath.Accumulator:
        """Of the machine."""
        spec = self.accelerator.accumulator
        return datapath.Accumulator(spec.bits, Overflow(spec.overflow), dot_depth=self.accelerator.array.dot_depth)

    def sizes(self) -> dict[str, int]:
        """Sizes of all labels, as the operands of this call have them."""
        lhs = dict(zip(self.contraction.lhs, self.lhs.shape, strict=True))
        constant = self.plan.layer.rhs_shape if self.prepared.weight is None else self.prepared.weight.shape
        source = constant if self.plan.layer.rhs_kind == "weight" else needed(self.rhs).shape
        return {**lhs, **dict(zip(self.contraction.rhs, source, strict=True))}

    def gemm(self, lhs: npt.NDArray[Any], rhs: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Bring operands into the shape of a batched matrix product; the padding of a convolution is 0."""
        return self.contraction.to_gemm(lhs, rhs)

    def planes(self, lhs: npt.NDArray[Any], rhs: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Bring what belongs to the values of operands into the same shape; padding has that of its neighbours."""
        return self.contraction.to_gemm(lhs, rhs, fill=None)

    @functools.cached_property
    def integers(self) -> tuple[IntArray, IntArray]:
        """Integers that the array multiplies, ``[batch, m, k]`` and ``[batch, k, n]``; padding is the zero point."""
        lhs, rhs = self.gemm(self.q["lhs"].integers, self.q["rhs"].integers)
        zero = self.q["lhs"].element_zero_point()
        if zero is None or not self.contraction.links:
            return lhs, rhs
        there = self.gemm(np.ones(self.q["lhs"].shape, np.bool_), self.q["rhs"].integers)[0]
        zeros = self.planes(np.broadcast_to(zero, self.q["lhs"].shape), self.q["rhs"].integers)[0]
        return np.where(there, lhs, zeros.astype(lhs.dtype)), rhs

    def segments(self) -> list[tuple[int, int]]:
        """First step and the step after the last one of each partial sum."""
        starts = self.plan.mac.boundaries
        return list(zip(starts, (*starts[1:], self.plan.mac.k), strict=True))

    def scales(self, at: int) -> tuple[Float32, Float32]:
        """Scales of both operands at one index of the reduction, ``[batch, m, 1]`` and ``[batch, 1, n]``."""
        a, b = self._scale_planes
        return a[..., at : at + 1], b[..., at : at + 1, :]

    @functools.cached_property
    def _scale_planes(self) -> tuple[Float32, Float32]:
        if self.prepared.prototypes is not None:
            scale = self.q["lhs"].scales[0].reshape(1, 1, 1)
            return scale, self.prepared.prototypes.tables.scales[0].reshape(1, 1, -1)
        return self.planes(self.q["lhs"].element_scale(), self.q["rhs"].element_scale())

    @property
    def preloads_terms(self) -> bool:
        """Whether zero-point terms of constants are in the accumulators from the start."""
        return self.plan.layer.rhs_kind == "weight" and any(
            isinstance(s, steps.AddBias) and not isinstance(s.target, FloatFormat) for s in self.plan.steps
        )

    def fitted(self, sums: IntArray, step: int) -> IntArray:
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
