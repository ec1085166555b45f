"""Cycles of a plan in closed form, over one design point or columns of many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim import plan as steps
from hwsim.timing.tiling import Number, Schedule, port_bits, schedule

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bits through one memory.

    Parameters
    ----------
    read_bits, write_bits : bits
        In each direction.
    """

    read_bits: Number
    write_bits: Number

    @property
    def total_bits(self) -> Number:
        """Both directions."""
        return self.read_bits + self.write_bits


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles and movements of one layer.

    Parameters
    ----------
    schedule
        Folds and fetches behind the numbers.
    compute_cycles
        The array alone, memory always ready.
    stall_cycles
        Everything else: ``total_cycles - compute_cycles``.
    bound
        What sets the pace: ``compute``, ``dram``, ``sram`` or ``vector``; ``scan`` if the barrier of a range
        scan takes longer than any of them.
    utilization
        MACs over what the array could do in `total_cycles`.
    dram
        Traffic of the DRAM.
    buffers
        Traffic of the buffers, by name as in `Memories`.
    repeats
        How often the actions of each `Per` happen.
    """

    schedule: Schedule
    compute_cycles: Number
    total_cycles: Number
    stall_cycles: Number
    bound: Number
    utilization: Number
    dram: Traffic
    buffers: dict[str, Traffic]
    repeats: dict[steps.Per, Number]


def lane_elements(step: Step, repeats: dict[steps.Per, Number]) -> Number:
    """Elements that a step passes through the vector unit.

    Corrections, bias and the final scaling of one result are stages of one pipeline and count once.
    """
    match step:
        case steps.ScanRange() | steps.Quantize() | steps.DequantizeWeights():
            return sum(a.count * repeats[a.per] for a in step.actions[:1])
        case steps.Migrate():
            return 0 if step.folded else step.elements * repeats[steps.Per.LHS_FETCH]
        case steps.RescalePartialSums() | steps.Requantize() | steps.Dequantize():
            return step.count
        case (
            steps.Decode()
            | steps.MultiplyAccumulate()
            | steps.SumForZeroPoint()
            | steps.CorrectZeroPoints()
            | steps.AddBias()
        ):
            return 0


def closed_form(plan: Plan, accelerator: Accelerator) -> Timing:
    """Cycles of one layer.

    .. math:: t = barrier + latency + max(t_{dram}, first + max(t_{array}, t_{vector}, t_{sram}) + last)

    All transfers share one DRAM port, so that no total is below ``traffic / bandwidth``; the transfers of the
    first tile's operands and the last tile's results are exposed, and all those of an operand whose buffer is not
    double-buffered. What the barrier of a range scan has read and scanned is not in the terms after it.

    Raises
    ------
    ValueError
        If a buffer can not hold the tile of one fold.
    """
    plan_schedule = schedule(plan, accelerator)
    memories, bandwidth = accelerator.memories, accelerator.dram_bits_per_cycle
    repeats: dict[steps.Per, Number] = {
        steps.Per.CALL: 1,
        steps.Per.LHS_FETCH: plan_schedule.lhs_fetches,
        steps.Per.RHS_FETCH: plan_schedule.rhs_fetches,
        steps.Per.RHS_STREAM: plan_schedule.rhs_streams,
    }
    scans = [step for step in plan.steps if isinstance(step, steps.ScanRange)]
    off_chip = _dram_traffic(plan, plan_schedule, scans, memories.activation.capacity_bytes * 8)
    buffers = _traffic(plan, plan_schedule)
    weights = plan.rhs.total_dram_bits * plan_schedule.rhs_fetches if plan.layer.rhs_kind == "weight" else 0
    dram = accelerator.dram_cycles(off_chip.total_bits - weights, weights)
    vector = sum(lane_elements(step, repeats) for step in plan.steps) / accelerator.vector.lanes
    sram = np.maximum.reduce(
        [np.asarray(traffic.total_bits / getattr(memories, name).bits_per_cycle) for name, traffic in buffers.items()]
    )
    barrier = sum(
        scan.barrier_elements * np.maximum(1 / accelerator.vector.lanes, scan.source.bits / bandwidth) for scan in scans
    )
    compute = plan_schedule.compute_cycles
    # What the barrier has read and scanned is neither read nor scanned again.
    scanned = sum(scan.barrier_elements * scan.source.bits for scan in scans)
    rest = accelerator.dram_cycles(off_chip.total_bits - weights - scanned, weights)
    working = vector - sum(scan.barrier_elements for scan in scans) / accelerator.vector.lanes
    exposed = np.minimum(_exposed_cycles(plan, plan_schedule, accelerator), rest)
    latency = memories.dram.latency_ns / accelerator.cycle_ns
    total = np.ceil(barrier + latency + np.maximum(rest, exposed + np.maximum.reduce([compute, working, sram])))
    bounds = np.stack(np.broadcast_arrays(compute, dram, sram, vector, barrier))
    names = np.array(["compute", "dram", "sram", "vector", "scan"])
    bound = names[np.argmax(bounds, axis=0)]
    elements = accelerator.elements
    single = np.ndim(total) == 0
    return Timing(
        schedule=plan_schedule,
        compute_cycles=compute,
        total_cycles=int(total) if single else total,
        stall_cycles=int(total) - compute if single else total - compute,
        bound=str(bound) if single else bound,
        utilization=float(plan.mac.macs / (elements * total)) if single else plan.mac.macs / (elements * total),
        dram=off_chip,
        buffers=buffers,
        repeats=repeats,
    )


def _exposed_cycles(plan: Plan, tiling: Schedule, accelerator: Accelerator) -> Number:
    """Cycles that the array waits: for the first tile's operands, single-buffered ones, and the last results."""
    memories = accelerator.memories
    lhs, rhs = tiling.first_lhs_bits, tiling.first_rhs_bits
    if not memories.activation.double_buffered:
        lhs = lhs + plan.lhs.total_dram_bits * tiling.lhs_fetches
    if not memories.weight.double_buffered:
        rhs = rhs + plan.rhs.total_dram_bits * tiling.rhs_fetches
    return accelerator.dram_cycles(*port_bits(plan, lhs, rhs)) + accelerator.dram_cycles(tiling.last_tile_bits)


def _dram_traffic(plan: Plan, tiling: Schedule, scans: list[steps.ScanRange], activation_bits: int) -> Traffic:
    """Bits read and written: each operand as often as it is fetched, and again for a scan that it outgrows."""
    read = plan.lhs.total_dram_bits * tiling.lhs_fetches + plan.rhs.total_dram_bits * tiling.rhs_fetches
    if plan.bias is not None:
        read = read + plan.bias.total_dram_bits
    for scan in scans:
        # The scanned part stays in the buffer until it is quantized; a larger one is read a second time.
        stored = plan.lhs if scan.operand == "lhs" else plan.rhs
        read = read + (scan.barrier_elements * stored.dram_bits > activation_bits) * stored.total_dram_bits
    return Traffic(read_bits=read, write_bits=plan.out.total_dram_bits)


def _traffic(plan: Plan, tiling: Schedule) -> dict[str, Traffic]:
    """Bits read from and written to each buffer."""
    lhs = plan.lhs.elements * plan.lhs.sram_bits
    rhs = plan.rhs.elements * plan.rhs.sram_bits
    sums = plan.out.elements * (plan.mac.accumulator_bits or 32)
    results = plan.out.elements * plan.out.sram_bits
    return {
        "activation": Traffic(read_bits=lhs * tiling.lhs_streams, write_bits=lhs * tiling.lhs_fetches),
        "weight": Traffic(read_bits=rhs * tiling.rhs_streams, write_bits=rhs * tiling.rhs_fetches),
        # unfinished sums, then the result written once and read once on its way to DRAM
        "output": Traffic(
            read_bits=sums * tiling.sum_reads + results, write_bits=sums * (tiling.sum_writes - 1) + results
        ),
    }
