"""The plan: steps in order, and the tensors they read and write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hwsim.plan.array_steps import MultiplyAccumulate, SumForZeroPoint
from hwsim.plan.function_steps import ApplyFunction
from hwsim.plan.operand_steps import (
    Decode,
    DequantizeWeights,
    EncodePrototypes,
    Migrate,
    Quantize,
    RepeatChannels,
    Rotate,
    ScanRange,
)
from hwsim.plan.result_steps import (
    AddBias,
    CorrectZeroPoints,
    Dequantize,
    MultiplyOutliers,
    Requantize,
    RescalePartialSums,
)
from hwsim.plan.windows import Windows

if TYPE_CHECKING:
    from quant import Scheme, Verdict
    from workloads import Layer


@dataclass(frozen=True, slots=True)
class Stored:
    """An operand or result as memories hold it.

    Parameters
    ----------
    elements
        Number of values.
    dram_bits, sram_bits : bits for each element
        Widths outside and inside the chip.
    overhead_bits : bits
        Scales, zero points and tables that travel with the tensor.
    kept_bits : bits for each element
        Width in the activation buffer while the tensor stays there between layers; 0 where it does not. With
        `dram_bits` 0 it never goes through DRAM; otherwise it is fetched once and stays.
    """

    elements: int
    dram_bits: int
    sram_bits: int
    overhead_bits: int = 0
    kept_bits: int = 0

    @property
    def in_place(self) -> bool:
        """Whether the array can read a kept tensor where it is."""
        return self.kept_bits == self.sram_bits

    def __str__(self) -> str:
        text = f"{self.elements:,} x {self.dram_bits} bits in DRAM"
        if self.overhead_bits:
            text += f" and {self.overhead_bits:,} of scales, zero points and tables"
        if self.kept_bits:
            text = f"{text}, and stays" if self.dram_bits else f"{self.elements:,} x {self.kept_bits} bits that stay"
        return f"{text}, {self.sram_bits} on chip"

    @property
    def total_dram_bits(self) -> int:
        """Bits of one transfer of the whole tensor."""
        return self.elements * self.dram_bits + self.overhead_bits


@dataclass(frozen=True, slots=True)
class SideTensor:
    """A tensor that the functions behind a layer read, or write beside its result.

    Parameters
    ----------
    tensor
        Its name.
    written
        Whether it is written, otherwise it is read.
    """

    tensor: str
    stored: Stored
    written: bool = False

    def __str__(self) -> str:
        return f"  functions {'write' if self.written else 'read'} {self.tensor}: {self.stored}"


Step = (
    ScanRange
    | Migrate
    | Rotate
    | RepeatChannels
    | Quantize
    | EncodePrototypes
    | DequantizeWeights
    | Decode
    | MultiplyAccumulate
    | SumForZeroPoint
    | CorrectZeroPoints
    | RescalePartialSums
    | MultiplyOutliers
    | AddBias
    | Requantize
    | Dequantize
    | ApplyFunction
)


@dataclass(frozen=True)
class Plan:
    """What the hardware does for one layer under one scheme.

    Parameters
    ----------
    layer, scheme
        What is planned.
    verdict
        Of the scale layouts; None where the MAC is a float one.
    steps
        In order.
    lhs, rhs, bias, out
        The tensors as memories hold them; `bias` None without one.
    shared
        Integers of lhs that this layer writes for others to read; None if it writes none.
    kept_bytes : bytes
        Of the activation buffer that tensors kept between layers take while this one runs.
    windows
        What the activation buffer holds of lhs where the layer is a convolution.
    side
        What functions behind the layer read, and write beside its result.
    """

    layer: Layer
    scheme: Scheme
    verdict: Verdict | None
    steps: tuple[Step, ...]
    lhs: Stored
    rhs: Stored
    bias: Stored | None
    out: Stored
    shared: Stored | None = None
    kept_bytes: int = 0
    windows: Windows | None = None
    side: tuple[SideTensor, ...] = ()
    mac: MultiplyAccumulate = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mac", next(s for s in self.steps if isinstance(s, MultiplyAccumulate)))

    @property
    def held(self) -> Windows:
        """What the activation buffer holds of lhs, in all and for each row of the product."""
        return self.windows or Windows(self.lhs.elements, self.mac.k)

    @property
    def lhs_in_place(self) -> bool:
        """Whether the array reads a lhs that stays on chip where it is; patches are another copy."""
        return self.lhs.in_place and not self.held.patches

    @property
    def clamp(self) -> Literal["relu", "relu6"] | None:
        """Function that the requantizer does as it saturates."""
        return next((step.clamp for step in self.steps if isinstance(step, Requantize)), None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the contraction asks for; `mac.macs` are those that the array carries out."""
        return self.layer.macs

    @property
    def extra_columns(self) -> int:
        """Columns that the array computes beyond the contraction's own, for zero-point sums."""
        return sum(isinstance(s, SumForZeroPoint) and s.by == "channel" and s.operand == "lhs" for s in self.steps)

    @property
    def extra_rows(self) -> int:
        """Rows that the array computes beyond the contraction's own, for zero-point sums."""
        return sum(isinstance(s, SumForZeroPoint) and s.by == "channel" and s.operand == "rhs" for s in self.steps)

    @property
    def verdict_name(self) -> str:
        """``once``, ``segmented`` or ``float``."""
        return "float" if self.verdict is None else self.verdict.verdict

    @property
    def weight_bytes(self) -> float:
        """Bytes of stored constants: weights with their scales, zero points and tables, and the bias."""
        if self.layer.rhs_kind != "weight":
            return 0.0
        return (self.rhs.total_dram_bits + (self.bias.total_dram_bits if self.bias else 0)) / 8

    def __str__(self) -> str:
        lines = [f"{self.layer.name} under {self.scheme.name}: {self.verdict_name}"]
        lines += [f"  {name}: {stored}" for name in ("lhs", "rhs", "bias", "out") if (stored := getattr(self, name))]
        if self.windows is not None:
            lines.append(f"  activation buffer: {self.windows}")
        for step in self.steps:
            counts = ", ".join(f"{a.count:,} x {a.component}" for a in step.actions) or "no extra hardware"
            lines.append(f"  {type(step).__name__}{_where(step)}: {counts}")
        lines += map(str, self.side)
        if self.shared is not None:
            lines.append(f"  integers of lhs for others: {self.shared}")
        if self.kept_bytes:
            lines.append(f"  tensors between layers: {self.kept_bytes:,} bytes of the activation buffer")
        return "\n".join(lines)


def _where(step: Step) -> str:  # noqa: C901  one case for each kind of step
    """Say which operand a step works on, and where or when."""
    match step:
        case ScanRange():
            barrier = f", {step.barrier_elements:,} values before the first product" if step.barrier_elements else ""
            return f" of {step.operand} for {step.finds}{barrier}"
        case Quantize(at="earlier"):
            return f" {step.operand}, done by an earlier layer"
        case Quantize():
            place = {"load": "as it is loaded", "producer": "where it is made", "requantizer": "by the layer before"}
            return f" {step.operand} to {step.target}, {place[step.at]}"
        case Rotate():
            return f" lhs in blocks of {step.block}"
        case RepeatChannels():
            return f" of lhs along {step.axis}, {step.extra} more than {step.channels}"
        case MultiplyAccumulate() if step.segments > 1:
            return f" in {step.segments} segments"
        case RescalePartialSums():
            return f" by {step.kind}"
        case Requantize(clamp=str(clamp)):
            return f" and {clamp}"
        case AddBias():
            return f" in {step.target}"
        case DequantizeWeights() | Dequantize():
            return f" to {step.target}"
        case SumForZeroPoint():
            return f" over {step.operand} by {step.by}"
        case _:
            return ""
