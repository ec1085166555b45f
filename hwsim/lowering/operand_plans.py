"""Steps that bring operands to the array, and how memories hold these."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from hwsim.lowering.layer_operands import spec_of
from hwsim.plan import Decode, EncodePrototypes, Migrate, Quantize, RepeatChannels, Rotate, ScanRange, Step, Stored
from quant import FP32, Contraction, IntFormat

if TYPE_CHECKING:
    from hwsim.lowering.layer_operands import Operand
    from hwsim.lowering.task import Task


def stored(task: Task, operand: Operand) -> Stored:
    """Say how memories hold an operand."""
    spec = spec_of(operand)
    bits = spec.integer_format.bits
    if task.encoded and operand.role == "lhs":
        encoding = encode(task)
        pieces = encoding.rows * encoding.subspaces
        return Stored(pieces, encoding.width * bits, index_format(encoding.prototypes).bits)
    if task.encoded:
        encoding = encode(task)
        table_bits = encoding.prototypes * bits
        scales = task.layer.gemm.n if operand.layout is not None and operand.layout.varying else 1
        overhead = scales * spec.storage_bits("real")
        return Stored(encoding.subspaces * task.layer.gemm.n, table_bits, table_bits, overhead)
    if task.is_constant(operand) or task.is_cache(operand):
        return Stored(operand.elements, bits, bits, operand.overhead_bits)
    # A dynamic scheme gets floats from DRAM and keeps integers on chip.
    return Stored(operand.elements, bits if task.static else task.carrier.bits, bits)


def prepare_operand(task: Task, operand: Operand) -> list[Step]:
    """Turn an activation into what the array reads; a constant has been turned offline."""
    spec = spec_of(operand)
    if task.is_constant(operand):
        return [Decode(operand.elements, spec.table_entries, operand.mac_format)] if spec.code == "codebook" else []
    steps: list[Step] = _transform(task, operand)
    at: Literal["load", "producer", "requantizer", "earlier"] = "load"
    if task.is_cache(operand):
        at = "earlier"
    elif task.static:
        _require_static(task, operand)
        # A requantizer delivers what the next layer multiplies only if it was made for that.
        ready = task.producer_of(operand) == "contraction" and _same_codes(task, operand) and not steps
        at = "requantizer" if ready else "producer"
    else:
        steps += _scans(task, operand)
    if spec.rounding == "stochastic" and spec.random_bits is None and at != "requantizer":
        msg = f"random_bits must be given for stochastic rounding of {operand.role} at run time, not {spec.random_bits}"
        raise ValueError(msg)
    steps.append(
        Quantize(
            operand.role, operand.elements, task.carrier, spec.integer_format, spec, dynamic=not task.static, at=at
        )
    )
    if task.encoded and operand.role == "lhs":
        steps.append(encode(task))
    return steps


def encode(task: Task) -> EncodePrototypes:
    """Cut each row into pieces that prototypes replace; a last shorter piece ends in zeros.

    Raises
    ------
    ValueError
        If the layer is a batch of products, whose prototypes would be many.
    """
    spec, gemm = spec_of(task.lhs), task.layer.gemm
    if gemm.batch != 1 or spec.width is None or spec.prototypes is None:
        msg = f"layer {task.layer.name} must be one matrix product for code pq, not a batch of {gemm.batch}"
        raise ValueError(msg)
    return EncodePrototypes(gemm.m, math.ceil(gemm.k / spec.width), spec.width, spec.prototypes, spec.integer_format)


def index_format(prototypes: int) -> IntFormat:
    """Format of an index of a prototype."""
    return IntFormat(max(1, (prototypes - 1).bit_length()), signed=False)


def rotation_block(task: Task) -> int:
    """Size of the rotations along the last axis that both operands sum over; 1 where it is odd.

    Raises
    ------
    ValueError
        If a given size does not divide the axis.
    """
    rotate = task.scheme.rotate
    if rotate is None:
        return 1
    axis = channel_axis(task.layer.contraction)
    if not axis:
        return 1
    size = task.layer.sizes[axis]
    if rotate.block is not None and size % rotate.block:
        msg = f"rotate.block must divide the {size} steps of {axis} of {task.layer.name}, not {rotate.block}"
        raise ValueError(msg)
    return rotate.block or size & -size


def channel_axis(contraction: str) -> str:
    """Axis that rotations run along and channels are repeated along: the last that both operands sum over.

    Empty where they share none, as those of a depthwise convolution.
    """
    return next(reversed(Contraction.parse(contraction).shared), "")


def _same_codes(task: Task, operand: Operand) -> bool:
    """Whether the requantizer of the layer before was made for the codes of this one."""
    spec = spec_of(operand)
    plain = spec.replace(code="affine", prototypes=None, width=None) if spec.code == "pq" else spec
    return plain == task.scheme.output


def _transform(task: Task, operand: Operand) -> list[Step]:
    """Treat the outlier channels of an activation that meets a weight."""
    if operand.role != "lhs" or not task.weight:
        return []
    if task.scheme.smooth is not None:
        return [Migrate(operand.elements, task.static, task.carrier)]
    axis = channel_axis(task.asked.contraction)
    if task.scheme.duplicate is not None and axis:
        channels = task.asked.sizes[axis]
        extra = task.layer.sizes[axis] - channels
        elements = math.prod(task.asked.sizes[label] for label in operand.axes)
        return [RepeatChannels(elements, axis, channels, extra, task.static, task.carrier)]
    block = rotation_block(task)
    if block > 1:
        return [Rotate(operand.elements, block, FP32, "producer" if task.static else "load")]
    return []


def _scans(task: Task, operand: Operand) -> list[Step]:
    """Find ranges at run time, and outlier channels before them."""
    elements, symmetric = operand.elements, spec_of(operand).symmetric
    barrier = operand.elements_per_scale
    scales = elements // barrier
    split = task.scheme.outliers is not None and task.weight
    if not split:
        return [ScanRange(operand.role, elements, scales, barrier, task.carrier, symmetric)]
    channels = task.layer.gemm.k
    return [
        ScanRange(operand.role, elements, channels, elements, task.carrier, symmetric=True, finds="outliers"),
        ScanRange(operand.role, elements, scales, 0, task.carrier, symmetric),
    ]


def _require_static(task: Task, operand: Operand) -> None:
    contraction = Contraction.parse(task.layer.contraction)
    outer = contraction.outer_lhs if operand.role == "lhs" else contraction.outer_rhs
    along = [a for a in (operand.layout.varying if operand.layout else ()) if a in (*outer, *contraction.batch)]
    if along:
        msg = (
            f"static activation scales of {task.layer.name} must not vary along tokens, which are not known "
            f"beforehand, not {operand.layout}"
        )
        raise ValueError(msg)
