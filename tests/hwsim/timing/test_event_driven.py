"""The event-driven machine against the closed form, laws of conservation, and a timeline by hand."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hwsim
import workloads
from benchmarks.agreement import differences
from hwsim import plan as steps
from hwsim.plan import Plan
from hwsim.timing import Timing, chrome_trace, closed_form, run_events, timeline_frame
from hwsim.timing.cycles import lane_elements
from quant import Scheme
from tests.hwsim.machines import attention_layer, machine
from workloads import Layer

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
SCHEMES = ["fp32", "w8a16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-weight", "w4a8-g128"]
WIDE = {"capacity_bytes": 1 << 30, "banks": 1 << 10, "bank_width_bits": 1 << 10}
ENDLESS: dict[str, Any] = {
    "memories__dram__bandwidth_gb_per_s": 1e30,
    "memories__dram__latency_ns": 0,
    "vector__lanes": 1 << 90,
    **{f"memories__{name}": WIDE for name in ("activation", "weight", "output")},
}


def gemm_plan(m: int, k: int, n: int, accelerator: hwsim.Accelerator, scheme: str = "w8a8-static") -> Plan:
    layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y")
    return hwsim.lower(layer, Scheme.load(scheme), accelerator)


# ---- where nothing but the array takes time, all models are one ----


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_with_endless_memory_events_take_the_cycles_of_the_closed_form(dataflow: str, scheme: str) -> None:
    for (m, k, n), (rows, columns) in itertools.product(
        [(1, 1, 1), (5, 11, 7), (17, 131, 13), (64, 3, 2)], [(1, 1), (3, 2), (8, 5), (16, 16)]
    ):
        accelerator = machine(array__rows=rows, array__columns=columns, array__dataflow=dataflow, **ENDLESS)
        try:
            plan = gemm_plan(m, k, n, accelerator, scheme)
        except hwsim.IllegalLayoutError:
            continue  # groups shorter than what a stationary array adds natively
        timing = closed_form(plan, accelerator)
        got = run_events(plan, accelerator)
        assert got.total_cycles == timing.total_cycles == timing.compute_cycles, (m, k, n, rows, columns)
        assert got.stall_cycles == 0


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(
    "changes",
    [
        {"array__overlap_folds": True, "array__double_buffered": True},
        {"array__partial_tiles": "part"},
        {"arrays": 3},
    ],
    ids=str,
)
def test_with_endless_memory_events_follow_the_conventions(dataflow: str, changes: dict[str, Any]) -> None:
    accelerator = machine(array__rows=8, array__columns=5, array__dataflow=dataflow, **(ENDLESS | changes))
    plan = gemm_plan(17, 131, 13, accelerator)
    assert run_events(plan, accelerator).total_cycles == closed_form(plan, accelerator).compute_cycles


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_one_lane_a_column_keeps_up_with_the_results(dataflow: str) -> None:
    """Each column delivers one result a cycle, so that as many lanes add nothing."""
    changes = {**ENDLESS, "vector__lanes": 5}
    accelerator = machine(array__rows=8, array__columns=5, array__dataflow=dataflow, **changes)
    plan = gemm_plan(17, 31, 13, accelerator, "fp32")
    assert run_events(plan, accelerator).total_cycles == closed_form(plan, accelerator).compute_cycles
    plan = gemm_plan(17, 31, 10, accelerator, "w8a8-static")
    slow = accelerator.replace(vector__lanes=1)
    assert run_events(plan, slow).total_cycles > run_events(plan, accelerator).total_cycles


def test_latency_is_seen_once_where_buffers_hold_everything() -> None:
    accelerator = machine(**{**ENDLESS, "memories__dram__latency_ns": 100})
    plan = gemm_plan(17, 31, 13, accelerator)
    timing = closed_form(plan, accelerator)
    assert run_events(plan, accelerator).total_cycles == timing.total_cycles == timing.compute_cycles + 25


# ---- laws ----

BUFFER = st.sampled_from([256, 1024, 4096, 1 << 16])


@st.composite
def machines(draw: st.DrawFn) -> tuple[Plan, hwsim.Accelerator, Timing]:
    rows, columns = draw(st.tuples(*[st.integers(1, 12)] * 2))
    accelerator = machine(
        array__rows=rows,
        array__columns=columns,
        array__dataflow=draw(st.sampled_from(DATAFLOWS)),
        vector__lanes=draw(st.sampled_from([1, 3, 64])),
        memories__activation__capacity_bytes=draw(BUFFER),
        memories__weight__capacity_bytes=draw(BUFFER),
        memories__output__capacity_bytes=draw(BUFFER),
        memories__activation__double_buffered=draw(st.booleans()),
        memories__weight__double_buffered=draw(st.booleans()),
        memories__dram__bandwidth_gb_per_s=draw(st.sampled_from([0.05, 0.8, 3.2, 400.0])),
        memories__dram__latency_ns=draw(st.sampled_from([0, 100])),
    )
    m, k, n = draw(st.tuples(*[st.integers(1, 60)] * 3))
    layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y")
    if draw(st.booleans()):
        layer = attention_layer(draw(st.integers(1, 3)), 2, m, n, k)
    plan = hwsim.lower(layer, Scheme.load(draw(st.sampled_from(SCHEMES[:-1]))), accelerator)
    try:
        timing = closed_form(plan, accelerator)
    except ValueError as error:
        assume("must hold one tile" not in str(error))
        raise
    return plan, accelerator, timing


@settings(deadline=None, max_examples=80)
@given(machines())
def test_both_models_move_the_same_bits_and_lie_between_the_bounds(
    drawn: tuple[Plan, hwsim.Accelerator, Timing],
) -> None:
    """No resource takes less than its own work, and no machine more than all of it one after the other."""
    plan, accelerator, timing = drawn
    got = run_events(plan, accelerator, most_tiles=1 << 30)
    assert (got.read_bits, got.write_bits) == (timing.dram.read_bits, timing.dram.write_bits)
    once = dict.fromkeys(steps.Per, 1) | timing.repeats
    vector = sum(lane_elements(step, once) for step in plan.steps) / accelerator.vector.lanes
    dram = timing.dram.total_bits / accelerator.dram_bits_per_cycle
    sram = max(t.total_bits / getattr(accelerator.memories, name).bits_per_cycle for name, t in timing.buffers.items())
    latency = accelerator.memories.dram.latency_ns / accelerator.cycle_ns
    least = max(timing.compute_cycles, dram, sram, vector)
    # one more cycle for each place where a fraction is rounded up
    most = max(timing.compute_cycles, sram) + dram + vector + latency * (got.transfers + 1) + 3
    for cycles in (got.total_cycles, timing.total_cycles):
        assert least - 1e-6 <= cycles <= most


@pytest.mark.parametrize("roomy", [False, True])
def test_nearly_all_layers_are_within_a_tile_of_events(roomy: bool) -> None:
    """One tile: its transfers, latency, lanes and folds one after the other.

    In the few others a resource waits for another at some times only (docs/timing.md).
    """
    frame = differences(300, seed=3, roomy=roomy)
    assert (frame["tiles"] <= 1).mean() >= (0.99 if roomy else 0.98)
    assert frame["tiles"].quantile(0.95) <= (0.3 if roomy else 0.5)
    assert frame["share"].max() <= 0.25


@pytest.mark.parametrize(("size", "shape"), [((90, 81, 93), (8, 5)), ((86, 112, 112), (12, 7))])
def test_panels_from_the_lanes_hide_behind_full_groups(size: tuple[int, int, int], shape: tuple[int, int]) -> None:
    """Of the operand that passes, the first group is as large as any: each new panel of the other waits behind it."""
    rows, columns = shape
    accelerator = machine(
        array__rows=rows,
        array__columns=columns,
        array__dataflow="output_stationary",
        vector__lanes=columns,
        memories__dram__bandwidth_gb_per_s=400.0,
        memories__dram__latency_ns=0,
        **{f"memories__{name}__capacity_bytes": 1 << 16 for name in ("activation", "weight", "output")},
    )
    plan = gemm_plan(*size, accelerator, "w8a8-dynamic")
    got, timing = run_events(plan, accelerator, most_tiles=1 << 30), closed_form(plan, accelerator)
    assert timing.schedule.column_tiles % timing.schedule.block_columns
    assert abs(got.total_cycles - timing.total_cycles) <= got.longest_tile_cycles


@settings(deadline=None, max_examples=40)
@given(machines(), st.sampled_from([4, 32]))
def test_joined_tiles_move_the_same_bits_in_nearly_the_same_time(
    drawn: tuple[Plan, hwsim.Accelerator, Timing], most: int
) -> None:
    plan, accelerator, timing = drawn
    got = run_events(plan, accelerator, most_tiles=most)
    assert (got.read_bits, got.write_bits) == (timing.dram.read_bits, timing.dram.write_bits)
    assert (
        got.total_cycles >= max(timing.compute_cycles, timing.dram.total_bits / accelerator.dram_bits_per_cycle) - 1e-6
    )


@settings(deadline=None, max_examples=40)
@given(machines())
def test_no_resource_does_two_things_at_once(drawn: tuple[Plan, hwsim.Accelerator, Timing]) -> None:
    plan, accelerator, _ = drawn
    got = run_events(plan, accelerator)
    for resource in ("dram", "vector", "array", "weights"):
        own = sorted((i.start_cycle, i.end_cycle) for i in got.intervals if i.resource == resource)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(own))
        assert all(0 <= start < end <= got.total_cycles for start, end in own)


# ---- by hand ----


def test_a_timeline_by_hand() -> None:
    """One fold: 8 x 4 weights and activations of 8 bits at 8 bits a cycle, 4 + 2 + 2 - 2 cycles, 4 results.

    Both operands come one after the other, 8 cycles each, with 32 bits of scale; the results take 4 cycles.
    """
    accelerator = machine(
        array__rows=2, array__columns=2, vector__lanes=64, memories__dram__bandwidth_gb_per_s=0.25,
        memories__dram__latency_ns=0,
    )  # fmt: skip
    assert accelerator.dram_bits_per_cycle == 8
    got = run_events(gemm_plan(2, 4, 2, accelerator), accelerator)
    spans = [(i.resource, i.work, i.start_cycle, i.end_cycle) for i in got.intervals]
    assert spans == [("dram", "lhs", 0, 8), ("dram", "rhs", 8, 20), ("array", "fold", 20, 26), ("dram", "out", 26, 30)]
    assert (got.total_cycles, got.compute_cycles, got.stall_cycles) == (30, 6, 24)


def test_weights_come_through_a_port_of_their_own() -> None:
    """The same fold with weights at 4 bits a cycle beside activations at 8: 24 cycles beside 8."""
    accelerator = machine(
        array__rows=2, array__columns=2, vector__lanes=64, memories__dram__bandwidth_gb_per_s=0.25,
        memories__dram__weight_bandwidth_gb_per_s=0.125, memories__dram__latency_ns=0,
    )  # fmt: skip
    got = run_events(gemm_plan(2, 4, 2, accelerator), accelerator)
    spans = {(i.resource, i.work, i.start_cycle, i.end_cycle) for i in got.intervals}
    expected = {("dram", "lhs", 0, 8), ("weights", "rhs", 0, 24), ("array", "fold", 24, 30), ("dram", "out", 30, 34)}
    assert spans == expected
    assert got.longest_tile_cycles == 8 + 24 + 6 + 4 + 1  # 4 results on 64 lanes, rounded up


def test_a_single_buffer_waits_where_a_double_one_prefetches() -> None:
    def cycles(double: bool) -> tuple[int, int]:
        accelerator = machine(
            **{f"memories__{name}": {"capacity_bytes": 1024, "banks": 8, "bank_width_bits": 64,
               "double_buffered": double} for name in ("activation", "weight")},
            memories__dram__bandwidth_gb_per_s=0.8,
            memories__dram__latency_ns=0,
        )  # fmt: skip
        plan = gemm_plan(60, 64, 40, accelerator)
        return run_events(plan, accelerator).total_cycles, closed_form(plan, accelerator).total_cycles

    assert all(single > double for single, double in zip(cycles(False), cycles(True), strict=True))


def test_single_buffers_serialize_loads_and_folds() -> None:
    """One element, panels of 8 bytes at 1 byte a cycle after 10 of latency, each rhs panel with half of a scale.

    Buffers hold a panel of each operand and one sum. For each of 2 columns rhs and lhs come at once, 8 + 2 + 8 cycles,
    then lhs for each of 2 more rows, 8 cycles; latency and 8 cycles of the fold follow each; the last result takes 1.
    """
    accelerator = machine(
        array__rows=1, array__columns=1, vector__lanes=64, memories__activation__capacity_bytes=8,
        memories__weight__capacity_bytes=8, memories__output__capacity_bytes=8,
        memories__activation__double_buffered=False, memories__weight__double_buffered=False,
        memories__dram__bandwidth_gb_per_s=0.25, memories__dram__latency_ns=40,
    )  # fmt: skip
    plan = gemm_plan(3, 8, 2, accelerator)
    expected = 2 * (18 + 10 + 8 + 2 * (8 + 10 + 8)) + 1
    assert run_events(plan, accelerator).total_cycles == expected
    assert closed_form(plan, accelerator).total_cycles == expected


def test_bits_that_a_barrier_has_read_are_not_read_again() -> None:
    """One scale for the tensor: 5 x 11 halves are scanned on the way in and stay; 7 x 11 weights follow."""
    changes = {**ENDLESS, "memories__dram__bandwidth_gb_per_s": 0.25}
    accelerator = machine(array__rows=5, array__columns=7, **changes)
    scheme = Scheme.load("w8a8-dynamic").replace(activation__layout="per_tensor")
    layer = Layer("gemm", "mk,kn->mn", {"m": 5, "k": 11, "n": 7}, "x", "w", "y")
    plan = hwsim.lower(layer, scheme, accelerator)
    got, timing = run_events(plan, accelerator), closed_form(plan, accelerator)
    carried = plan.lhs.dram_bits
    assert timing.dram.read_bits == got.read_bits == plan.rhs.total_dram_bits + 55 * carried
    serial = (timing.dram.total_bits) / 8 + timing.compute_cycles
    assert max(got.total_cycles, timing.total_cycles) <= serial + 1


def test_resnet_sized_layers_take_seconds_not_cycles() -> None:
    """56 x 56 x 64 outputs of 3 x 3 x 64: 115.6 M MACs, more than 2000 folds, joined to a thousand tiles."""
    accelerator = hwsim.Accelerator.load("edge-16x16")
    got = run_events(gemm_plan(3136, 576, 64, accelerator), accelerator)
    assert got.tiles <= 1100
    timing = closed_form(gemm_plan(3136, 576, 64, accelerator), accelerator)
    assert got.total_cycles == pytest.approx(timing.total_cycles, rel=0.02)


# ---- timelines ----


def test_a_trace_is_json_with_every_interval_in_microseconds() -> None:
    accelerator = hwsim.Accelerator.load("edge-16x16")
    got = run_events(workloads_plan(accelerator), accelerator)
    trace = json.loads(json.dumps(chrome_trace(got.intervals, accelerator.cycle_ns)))
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(complete) == len(got.intervals) == len(timeline_frame(got.intervals))
    last = max(event["ts"] + event["dur"] for event in complete)
    assert last == pytest.approx(max(i.end_cycle for i in got.intervals) * 4e-3)


def workloads_plan(accelerator: hwsim.Accelerator) -> Plan:
    return hwsim.lower(workloads.gemm(64, 64, 64).layers[0], Scheme.load("w8a8-dynamic"), accelerator)
