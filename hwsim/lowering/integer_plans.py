"""Plans of an integer contraction: operands, the array, and an epilogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hwsim.lowering.epilogues import epilogue
from hwsim.lowering.layer_operands import spec_of
from hwsim.lowering.operand_plans import encode, index_format, prepare_operand, stored
from hwsim.lowering.task import Task
from hwsim.plan import AddBias, MultiplyAccumulate, Plan, Step, Stored, Windows
from quant import Format, IntFormat

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.lowering.layer_operands import Operand
    from quant import Scheme, Verdict
    from workloads import Layer

BIAS_BITS = 32
Operands = tuple["Operand", "Operand"]


def integer_plan(
    asked: Layer, layer: Layer, scheme: Scheme, accelerator: Accelerator, operands: Operands, verdict: Verdict
) -> Plan:
    """Write the plan of an integer contraction, cut where the verdict says.

    Parameters
    ----------
    asked, layer
        The layer as the network has it and as the array sees it.
    operands, verdict
        Of the latter.
    """
    lhs, rhs = operands
    task = Task(asked, layer, scheme, accelerator, lhs, rhs, verdict)
    mac = _mac(task)
    before = (*prepare_operand(task, lhs), *prepare_operand(task, rhs), *_preload(task))
    bias_bits = BIAS_BITS if task.integer_bias else task.carrier.bits
    return Plan(
        layer=asked,
        scheme=scheme,
        verdict=verdict,
        steps=(*before, mac, *epilogue(task, mac)),
        lhs=stored(task, lhs),
        rhs=stored(task, rhs),
        bias=Stored(mac.n, bias_bits, bias_bits) if layer.bias is not None or task.offline_term else None,
        out=Stored(task.outputs, task.result_bits, task.result_bits),
        windows=None if task.encoded else Windows.of(layer.contraction, layer.sizes, accelerator.array.convolution),
    )


def _mac(task: Task) -> MultiplyAccumulate:
    """Cut the contraction where the verdict says."""
    gemm, weight = task.layer.gemm, spec_of(task.rhs)
    k, prototypes = gemm.k, 1
    lhs: Format = task.lhs.mac_format
    rhs: Format = task.rhs.mac_format
    unit: Literal["multiply", "shift", "lookup"] = "multiply"
    if weight.code == "pow2":
        unit, rhs = "shift", weight.integer_format
    elif task.encoded:
        depth = task.accelerator.array.dot_depth
        if depth != 1:
            msg = f"array.dot_depth must be 1 for code pq, which looks one entry up a step, not {depth}"
            raise ValueError(msg)
        encoding = encode(task)
        unit, k, prototypes = "lookup", encoding.subspaces, encoding.prototypes
        lhs, rhs = index_format(prototypes), weight.integer_format
    return MultiplyAccumulate(
        gemm.batch,
        gemm.m,
        k,
        gemm.n,
        _boundaries(task),
        lhs=lhs,
        rhs=rhs,
        accumulator_bits=task.accelerator.accumulator.bits,
        unit=unit,
        saturate=task.accelerator.accumulator.overflow == "saturate",
        prototypes=prototypes,
    )


def _boundaries(task: Task) -> tuple[int, ...]:
    """First index of each segment of the reduction."""
    if not task.segmented:
        return (0,)
    first_output = dict.fromkeys(task.verdict.problem.contraction.out, 0)
    return tuple(sorted({0, *task.verdict.cuts(first_output)}))


def _preload(task: Task) -> list[Step]:
    """Start the accumulators at an integer bias, constant zero-point terms included."""
    if not task.integer_bias or (task.layer.bias is None and not task.offline_term):
        return []
    return [AddBias(task.outputs, IntFormat(BIAS_BITS))]
