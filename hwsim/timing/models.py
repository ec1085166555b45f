"""One plan read by a chosen model of time, as a flat row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwsim.timing.cycles import closed_form
from hwsim.timing.event_driven import EventRun, run_events
from hwsim.timing.profiles import scalesim_report
from hwsim.timing.register_level import run_array
from quant.formats import IntFormat

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator, Array
    from hwsim.plan import Plan

Model = Literal["closed", "event", "register"]
Profile = Literal["hwsim", "scalesim"]


def timing_row(
    plan: Plan, accelerator: Accelerator, model: Model = "closed", profile: Profile = "hwsim"
) -> tuple[dict[str, Any], EventRun | None]:
    """Read the time of one layer.

    Parameters
    ----------
    model
        ``closed``: arithmetic. ``event``: folds through queues. ``register``: the arrays alone, every register each
        cycle, on random integers of the plan's formats; memory is always ready. Of several arrays that which has most
        to do is run.
    profile
        ``scalesim``: cycles and utilization as SCALE-Sim reports them without stalls; traffic stays that of the
        schedule.

    Returns
    -------
    row
        ``layer``, ``model``, ``profile``, cycles, ``utilization``, ``bound``, bytes through DRAM.
    run
        Of the event model; None of another.

    Raises
    ------
    ValueError
        If the model or the profile can not read this layer.
    """
    timing = closed_form(plan, accelerator)
    compute, total, utilization = timing.compute_cycles, timing.total_cycles, timing.utilization
    bound, run = timing.bound, None
    read, written = timing.dram.read_bits, timing.dram.write_bits
    mac, array = plan.mac, accelerator.array
    peak = accelerator.elements
    if profile == "scalesim":
        if model != "closed":
            msg = f"model must be closed under the profile scalesim, not {model}"
            raise ValueError(msg)
        if mac.batch != 1 or mac.segments != 1:
            msg = f"{plan.layer.name} must be one product and one sum under the profile scalesim"
            raise ValueError(msg)
        report = scalesim_report(mac.m, mac.k, mac.n, array)
        compute = total = report.cycles
        utilization, bound = report.utilization, "compute"
    elif model == "event":
        run = run_events(plan, accelerator)
        total, utilization = run.total_cycles, mac.macs / (peak * run.total_cycles)
        read, written = run.read_bits, run.write_bits
    elif model == "register":
        compute = total = _register_cycles(plan, accelerator)
        utilization, bound = mac.macs / (peak * total), "compute"
    row = {
        "layer": plan.layer.name,
        "model": model,
        "profile": profile,
        "compute_cycles": compute,
        "stall_cycles": total - compute,
        "total_cycles": total,
        "utilization": utilization,
        "bound": bound,
        "dram_read_bytes": read / 8,
        "dram_write_bytes": written / 8,
    }
    return row, run


@dataclass(frozen=True, slots=True)
class _Share:
    """What the busiest array multiplies: so many rows by so many columns in each of so many calls."""

    m: int
    n: int
    calls: int


def _register_cycles(plan: Plan, accelerator: Accelerator) -> int:
    """Cycles of the busiest array over all calls and segments; the same for any operands."""
    mac = plan.mac
    if not isinstance(mac.lhs, IntFormat) or not isinstance(mac.rhs, IntFormat):
        msg = f"{plan.layer.name} must be an integer product for the model register, not {mac.lhs} by {mac.rhs}"
        raise ValueError(msg)
    formats = mac.lhs, mac.rhs
    return min(_share_cycles(plan, formats, accelerator.array, share) for share in _shares(plan, accelerator))


def _shares(plan: Plan, accelerator: Accelerator) -> list[_Share]:
    """List the ways to split a layer: its tiles, or on arrays that hold an operand the rows that stream past, too.

    Tiles of several calls, which differ in operands only, are put side by side.
    """
    array, arrays, batch = accelerator.array, accelerator.arrays, plan.mac.batch
    m, n = plan.mac.m + plan.extra_rows, plan.mac.n + plan.extra_columns
    if arrays == 1:
        return [_Share(m, n, batch)]
    if array.dataflow == "output_stationary":
        tiles = batch * math.ceil(m / array.rows) * math.ceil(n / array.columns)
        return [_Share(math.ceil(tiles / arrays) * array.rows, array.columns, 1)]
    moving, width = (m, n) if array.dataflow == "weight_stationary" else (n, m)
    tiles = batch * math.ceil(width / array.columns)
    ways = [(moving, math.ceil(tiles / arrays)), (math.ceil(moving / arrays), tiles)]
    if array.dataflow == "weight_stationary":
        return [_Share(length, mine * array.columns, 1) for length, mine in ways]
    return [_Share(mine * array.columns, length, 1) for length, mine in ways]


def _share_cycles(plan: Plan, formats: tuple[IntFormat, IntFormat], array: Array, share: _Share) -> int:
    mac, rng, (left, right) = plan.mac, np.random.default_rng(0), formats
    runs: list[tuple[int, int]] = []
    for length in np.diff((*mac.boundaries, mac.k)).tolist():
        lhs = rng.integers(left.lo, left.hi + 1, (share.m, length))
        rhs = rng.integers(right.lo, right.hi + 1, (length, share.n))
        cycles = run_array(lhs, rhs, array, lhs_bits=left.bits, rhs_bits=right.bits).total_cycles
        runs.append((length, cycles))
    runs *= share.calls
    return sum(cycles for _, cycles in runs) - sum(_hidden_cycles(share, array, length) for length, _ in runs[:-1])


def _hidden_cycles(share: _Share, array: Array, length: int) -> int:
    """Cycles at the end of a run and the start of the next that pass at once when they follow each other."""
    held = array.dataflow != "output_stationary"
    loading = array.rows if array.double_buffered and held else 0
    if not array.overlap_folds:
        return loading
    match array.dataflow:
        case "output_stationary":
            moving = -(-length // array.dot_depth)
        case "weight_stationary":
            moving = share.m
        case "input_stationary":
            moving = share.n
    return loading + array.rows + array.columns - 2 - max(0, array.rows - moving)
