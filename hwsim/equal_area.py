"""Another question than equal geometry: what a scheme does with the area of the baseline's machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwsim.cost import area, energy
from hwsim.lowering import lower
from hwsim.network import network_timings, plan_network
from hwsim.results import Result
from hwsim.timing.tiling import require_tiles
from hwsim.timing.work import Machine, Work

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from hwsim.timing import Timing
    from quant import Scheme
    from workloads import Network


def equal_area(network: Network, result: Result, budget_um2: float) -> dict[str, Any]:
    """Give a scheme the largest array of the same shape whose machine fits an area, and read its plans again.

    Lanes of the vector unit grow with the columns; memories, bandwidth and clock stay. An array whose tile the
    buffers do not hold, or that is deeper than the scheme's groups, is not taken.
    """
    machine, sized = scaled_to_area(result, budget_um2), network.batched(result.batch // result.calls)
    try:
        plans, timings = _planned(sized, result.scheme, machine)
    except ValueError:
        machine = _largest_that_runs(sized, result, machine.array.columns)
        plans, timings = _planned(sized, result.scheme, machine)
    built = area(plans, machine, result.technology)
    cycles = result.calls * sum(timing.total_cycles for timing in timings)
    spent = (energy(plan, t, machine, result.technology, built) for plan, t in zip(plans, timings, strict=True))
    energy_pj = float(result.calls * sum(one.total_pj for one in spent))
    macs = result.calls * sum(plan.macs for plan in plans)
    return {
        "equal_area_array": f"{machine.array.rows}x{machine.array.columns}",
        "equal_area_area_um2": built.total_um2,
        "equal_area_latency_us": cycles * machine.cycle_ns * 1e-3,
        "equal_area_energy_pj": energy_pj,
        "equal_area_tops_per_w": 2 * macs / energy_pj,
    }


def _planned(network: Network, scheme: Scheme, machine: Accelerator) -> tuple[tuple[Plan, ...], tuple[Timing, ...]]:
    plans = plan_network(network, scheme, machine)
    return plans, network_timings(plans, machine)


def _largest_that_runs(network: Network, result: Result, too_many: int) -> Accelerator:
    """Bisect between a result's own array and one that can not run: tiles and depth only grow with the columns."""
    runs = min(result.accelerator.array.columns, too_many - 1)
    while too_many - runs > 1:
        middle = (runs + too_many) // 2
        if _runs(network, result.scheme, _with_columns(result.accelerator, middle)):
            runs = middle
        else:
            too_many = middle
    return _with_columns(result.accelerator, runs)


def _runs(network: Network, scheme: Scheme, machine: Accelerator) -> bool:
    """Tell whether the array runs every layer and the buffers hold its tiles; what stays on chip changes neither."""
    try:
        for layer in network.layers:
            require_tiles(Work.of(lower(layer, scheme, machine)), Machine.of(machine))
    except ValueError:
        return False
    return True


def scaled_to_area(result: Result, budget_um2: float) -> Accelerator:
    """Find the largest machine of a result's shape and scheme within an area; at least one element."""
    machine, parts = result.accelerator, result.built.parts()
    array, lanes = machine.array, machine.vector.lanes

    def total_um2(columns: int) -> float:
        rows, scaled_lanes = _in_proportion(machine, columns)
        return float(
            parts["sram_um2"]
            + parts["array_um2"] * rows * columns / (array.rows * array.columns)
            + parts["edge_um2"] * columns / array.columns
            + parts["vector_um2"] * scaled_lanes / lanes
        )

    columns = 1
    while total_um2(columns + 1) <= budget_um2 * (1 + 1e-12):
        columns += 1
    return _with_columns(machine, columns)


def _in_proportion(machine: Accelerator, columns: int) -> tuple[int, int]:
    """Rows and lanes that go with so many columns."""
    array = machine.array
    rows, lanes = columns * array.rows / array.columns, columns * machine.vector.lanes / array.columns
    return max(1, round(rows)), max(1, round(lanes))


def _with_columns(machine: Accelerator, columns: int) -> Accelerator:
    rows, lanes = _in_proportion(machine, columns)
    return machine.replace(array__rows=rows, array__columns=columns, vector__lanes=lanes)
