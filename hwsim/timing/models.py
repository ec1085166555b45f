"""One plan read by a chosen model of time, as a flat row."""

from __future__ import annotations

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
        ``closed``: arithmetic. ``event``: folds through queues. ``register``: the array alone, every register each
        cycle, on random integers of the plan's formats; memory is always ready.
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
        if accelerator.arrays > 1:
            msg = f"arrays must be 1 for the model register, which is one array, not {accelerator.arrays}"
            raise ValueError(msg)
        compute = total = _register_cycles(plan, array)
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


def _register_cycles(plan: Plan, array: Array) -> int:
    """Cycles of the array over all calls and segments; the same for any operands."""
    mac, rng = plan.mac, np.random.default_rng(0)
    if not isinstance(mac.lhs, IntFormat) or not isinstance(mac.rhs, IntFormat):
        msg = f"{plan.layer.name} must be an integer product for the model register, not {mac.lhs} by {mac.rhs}"
        raise ValueError(msg)
    runs: list[tuple[int, int]] = []
    for length in np.diff((*mac.boundaries, mac.k)).tolist() * mac.batch:
        if len(runs) >= mac.segments:
            # Calls differ in their operands only.
            runs.append(runs[-mac.segments])
            continue
        lhs = rng.integers(mac.lhs.lo, mac.lhs.hi + 1, (mac.m + plan.extra_rows, length))
        rhs = rng.integers(mac.rhs.lo, mac.rhs.hi + 1, (length, mac.n + plan.extra_columns))
        cycles = run_array(lhs, rhs, array, lhs_bits=mac.lhs.bits, rhs_bits=mac.rhs.bits).total_cycles
        runs.append((length, cycles))
    return sum(cycles for _, cycles in runs) - sum(_hidden_cycles(plan, array, length) for length, _ in runs[:-1])


def _hidden_cycles(plan: Plan, array: Array, length: int) -> int:
    """Cycles at the end of a run and the start of the next that pass at once when they follow each other."""
    held = array.dataflow != "output_stationary"
    loading = array.rows if array.double_buffered and held else 0
    if not array.overlap_folds:
        return loading
    match array.dataflow:
        case "output_stationary":
            moving = -(-length // array.dot_depth)
        case "weight_stationary":
            moving = plan.mac.m + plan.extra_rows
        case "input_stationary":
            moving = plan.mac.n + plan.extra_columns
    return loading + array.rows + array.columns - 2 - max(0, array.rows - moving)
