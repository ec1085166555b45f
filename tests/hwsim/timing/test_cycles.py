from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.plan import Per, Plan
from hwsim.timing import Timing, closed_form, run_events
from quant import Scheme
from tests.hwsim.machines import attention_layer, machine
from workloads import Layer

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
HUGE = {"capacity_bytes": 1 << 30, "banks": 8, "bank_width_bits": 64}
SIZES = ((1, 1, 1), (1, 7, 1), (5, 11, 7), (16, 16, 16), (17, 31, 33), (64, 3, 2), (2, 129, 5))
ARRAYS = ((1, 1), (1, 8), (16, 16), (8, 4), (3, 5))


def up(numerator: int, denominator: int) -> int:
    return (numerator + denominator - 1) // denominator


def scale_sim(dataflow: str, m: int, k: int, n: int, rows: int, columns: int) -> int:
    """Cycles without stalls: 2 R + C + T - 2 for each fold (Samajdar et al., arXiv 1811.02883, section 3).

    SCALE-Sim preloads R cycles of the stationary operand; an output stationary array preloads nothing.
    """
    match dataflow:
        case "output_stationary":
            return up(m, rows) * up(n, columns) * (k + rows + columns - 2)
        case "weight_stationary":
            return up(k, rows) * up(n, columns) * (m + 2 * rows + columns - 2)
        case _:
            return up(k, rows) * up(m, columns) * (n + 2 * rows + columns - 2)


def gemm_plan(m: int, k: int, n: int, accelerator: hwsim.Accelerator, scheme: str | Scheme = "w8a8-static") -> Plan:
    layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y")
    return hwsim.lower(layer, Scheme.load(scheme), accelerator)


def roomy(rows: int, columns: int, dataflow: str, **changes: Any) -> hwsim.Accelerator:
    memories = {f"memories__{name}": HUGE for name in ("activation", "weight", "output")}
    return machine(array__rows=rows, array__columns=columns, array__dataflow=dataflow, **(memories | changes))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_compute_cycles_equal_the_published_formula_on_a_grid(dataflow: str) -> None:
    for (m, k, n), (rows, columns) in itertools.product(SIZES, ARRAYS):
        accelerator = roomy(rows, columns, dataflow)
        got = closed_form(gemm_plan(m, k, n, accelerator), accelerator)
        assert got.compute_cycles == scale_sim(dataflow, m, k, n, rows, columns), (m, k, n, rows, columns)


@settings(deadline=None, max_examples=100)
@given(
    sizes=st.tuples(*[st.integers(1, 300)] * 3),
    array=st.tuples(*[st.integers(1, 40)] * 2),
    dataflow=st.sampled_from(DATAFLOWS),
    batch=st.integers(1, 5),
)
def test_compute_cycles_equal_the_published_formula(
    sizes: tuple[int, int, int], array: tuple[int, int], dataflow: str, batch: int
) -> None:
    accelerator = roomy(*array, dataflow)
    m, k, n = sizes
    layer = Layer(
        "p", "bmk,bkn->bmn", {"b": batch, "m": m, "k": k, "n": n}, "x", "v", "y", "activation", rhs_producer="input"
    )
    got = closed_form(hwsim.lower(layer, Scheme.load("w8a8-static"), accelerator), accelerator)
    assert got.compute_cycles == batch * scale_sim(dataflow, m, k, n, *array)


@pytest.mark.parametrize("depth", [2, 4])
def test_dot_depth_shortens_the_stream(depth: int) -> None:
    accelerator = roomy(8, 4, "output_stationary", array__dot_depth=depth)
    got = closed_form(gemm_plan(17, 31, 13, accelerator), accelerator)
    assert got.compute_cycles == scale_sim("output_stationary", 17, up(31, depth), 13, 8, 4)
    accelerator = roomy(8, 4, "weight_stationary", array__dot_depth=depth)
    got = closed_form(gemm_plan(17, 31, 13, accelerator), accelerator)
    assert got.compute_cycles == up(31, 8 * depth) * up(13, 4) * (17 + 8 + 8 + 4 - 2)


def test_every_segment_fills_and_drains_the_array() -> None:
    accelerator = roomy(3, 2, "output_stationary")
    grouped = Scheme.load("w4a8-g128").replace(weight__layout="group:4")
    got = closed_form(gemm_plan(5, 11, 7, accelerator, grouped), accelerator)
    tiles = up(5, 3) * up(7, 2)
    assert got.compute_cycles == tiles * sum(length + 3 + 2 - 2 for length in (4, 4, 3))
    assert (got.schedule.folds, got.schedule.sum_writes, got.schedule.sum_reads) == (3 * tiles, 3, 2)


def test_a_channel_of_ones_is_one_more_column() -> None:
    accelerator = roomy(3, 2, "output_stationary")
    scheme = Scheme.load("w8a8-asym-weight")
    got = closed_form(gemm_plan(5, 11, 6, accelerator, scheme), accelerator)
    assert got.compute_cycles == scale_sim("output_stationary", 5, 11, 7, 3, 2)
    assert got.schedule.lhs_streams == up(7, 2)
    beside = closed_form(gemm_plan(5, 11, 6, accelerator, scheme.replace(zero_point_sums="adders")), accelerator)
    assert beside.compute_cycles == scale_sim("output_stationary", 5, 11, 6, 3, 2)


# ---- laws ----

BUFFER = st.sampled_from([64, 256, 1024, 4096, 1 << 16])


@st.composite
def readings(draw: st.DrawFn) -> tuple[Plan, hwsim.Accelerator, Timing]:
    """A layer, a scheme and a machine with buffers of any size, as long as they hold a tile."""
    rows, columns = draw(st.tuples(*[st.integers(1, 12)] * 2))
    accelerator = machine(
        array__rows=rows,
        array__columns=columns,
        array__dataflow=draw(st.sampled_from(DATAFLOWS)),
        array__dot_depth=draw(st.sampled_from([1, 2])),
        vector__lanes=draw(st.integers(1, 9)),
        memories__activation__capacity_bytes=draw(BUFFER),
        memories__weight__capacity_bytes=draw(BUFFER),
        memories__output__capacity_bytes=draw(BUFFER),
        memories__dram__bandwidth_gb_per_s=draw(st.sampled_from([0.05, 0.8, 3.2, 400.0])),
    )
    m, k, n = draw(st.tuples(*[st.integers(1, 150)] * 3))
    if draw(st.booleans()):
        layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y")
    else:
        layer = attention_layer(draw(st.integers(1, 3)), 2, m, n, k)
    scheme = draw(st.sampled_from(["fp32", "w8a16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-weight"]))
    plan = hwsim.lower(layer, Scheme.load(scheme), accelerator)
    try:
        timing = closed_form(plan, accelerator)
    except ValueError as error:
        assume("must hold one tile" not in str(error))
        raise
    return plan, accelerator, timing


@settings(deadline=None, max_examples=200)
@given(readings())
def test_time_and_traffic_obey_conservation(reading: tuple[Plan, hwsim.Accelerator, Timing]) -> None:
    plan, accelerator, timing = reading
    gemm, array, moved = plan.layer.gemm, accelerator.array, timing.schedule
    assert plan.mac.macs == gemm.batch * gemm.m * gemm.k * gemm.n
    # no operand is read less than once, nor more than once for every fold
    lhs_once, rhs_once = (side.total_dram_bits for side in (plan.lhs, plan.rhs))
    scanned = sum(type(step).__name__ == "ScanRange" for step in plan.steps) * (lhs_once + rhs_once)
    read = timing.dram.read_bits - (plan.bias.total_dram_bits if plan.bias else 0)
    assert lhs_once + rhs_once <= read <= moved.folds * (lhs_once + rhs_once) + scanned
    assert timing.dram.write_bits == plan.out.elements * plan.out.dram_bits
    # what comes from DRAM goes through the buffer into the array
    assert moved.lhs_streams >= moved.lhs_fetches >= 1
    assert moved.rhs_streams >= moved.rhs_fetches >= 1
    assert moved.sum_reads == moved.sum_writes - 1
    assert 0 < timing.utilization <= 1
    assert timing.utilization == pytest.approx(
        plan.mac.macs / (array.rows * array.columns * array.dot_depth * timing.total_cycles)
    )
    assert timing.total_cycles >= timing.compute_cycles
    assert timing.total_cycles >= timing.dram.total_bits / accelerator.dram_bits_per_cycle
    for name, traffic in timing.buffers.items():
        assert timing.total_cycles >= traffic.total_bits / getattr(accelerator.memories, name).bits_per_cycle
    assert timing.stall_cycles == timing.total_cycles - timing.compute_cycles
    elements = array.rows * array.columns * array.dot_depth
    assert timing.compute_cycles * elements >= plan.mac.macs


@settings(deadline=None, max_examples=100)
@given(readings(), st.sampled_from([1.5, 2.0, 16.0]))
def test_more_bandwidth_never_takes_longer(reading: tuple[Plan, hwsim.Accelerator, Timing], factor: float) -> None:
    plan, accelerator, timing = reading
    faster = accelerator.replace(
        memories__dram__bandwidth_gb_per_s=accelerator.memories.dram.bandwidth_gb_per_s * factor
    )
    again = closed_form(plan, faster)
    assume(again.schedule == timing.schedule)
    assert again.total_cycles <= timing.total_cycles
    wider = accelerator.replace(vector__lanes=accelerator.vector.lanes * 2)
    assert closed_form(plan, wider).total_cycles <= timing.total_cycles


@settings(deadline=None, max_examples=300)
@given(readings(), st.tuples(*[st.integers(0, 5000)] * 3), st.sampled_from([1.0, 1.1, 3.0]), st.integers(0, 9))
def test_more_of_anything_takes_at_most_a_tile_longer(
    reading: tuple[Plan, hwsim.Accelerator, Timing], bytes_more: tuple[int, int, int], factor: float, lanes: int
) -> None:
    """Larger loads keep no one waiting but the first fold, which waits for its own; a fraction may round up."""
    plan, accelerator, timing = reading
    memories = accelerator.memories
    changes: dict[str, Any] = {
        f"memories__{name}__capacity_bytes": getattr(memories, name).capacity_bytes + more
        for name, more in zip(("activation", "weight", "output"), bytes_more, strict=True)
    }
    larger = accelerator.replace(
        **changes,
        vector__lanes=accelerator.vector.lanes + lanes,
        memories__dram__bandwidth_gb_per_s=memories.dram.bandwidth_gb_per_s * factor,
    )
    again = closed_form(plan, larger).total_cycles
    if again > timing.total_cycles:
        assert again <= timing.total_cycles + run_events(plan, larger, most_tiles=1 << 30).longest_tile_cycles


# ---- by hand ----


@pytest.mark.parametrize("dataflow", ["weight_stationary", "input_stationary"])
def test_chunks_of_the_moving_operand_load_the_stationary_one_again(dataflow: str) -> None:
    """Sums of 8 rows by 2 columns wait in the output buffer while the reduction takes three passes of 3 rows."""
    accelerator = machine(
        array__dataflow=dataflow,
        memories__output__capacity_bytes=2 * 8 * 2 * 4,
        memories__activation__capacity_bytes=2 * 8 * 9,
        memories__weight__capacity_bytes=2 * 8 * 9,
        memories__dram__bandwidth_gb_per_s=1000.0,
    )
    got = closed_form(gemm_plan(24, 9, 24, accelerator), accelerator)
    loads, tiles = 24 // 8, (9 // 3) * (24 // 2)
    assert got.schedule.folds == tiles * loads
    assert got.compute_cycles == tiles * (24 + loads * (3 + 3 + 2 - 2))
    held = "rhs" if dataflow == "weight_stationary" else "lhs"
    assert getattr(got.schedule, f"{held}_streams") == loads


@pytest.mark.parametrize(
    ("moving_bytes", "output_bytes", "moving_fetches", "held_fetches"),
    [(8 * 9, 8 * 2 * 4, 1, 3), (4, 1 << 16, 12, 1)],
    ids=["a chunk of 8 rows stays", "nothing stays"],
)
@pytest.mark.parametrize("dataflow", ["weight_stationary", "input_stationary"])
def test_fetches_of_a_stationary_array_with_little_room(
    dataflow: str, moving_bytes: int, output_bytes: int, moving_fetches: int, held_fetches: int
) -> None:
    """24 x 9 x 24, no room for a held panel of 9 x 2: three chunks of 8 rows, or every row for each of 12 panels."""
    weights = dataflow == "weight_stationary"
    moving, held = ("activation", "weight") if weights else ("weight", "activation")
    accelerator = machine(
        array__dataflow=dataflow,
        memories__output__capacity_bytes=2 * output_bytes,
        memories__dram__bandwidth_gb_per_s=0.05,
        **{f"memories__{moving}__capacity_bytes": 2 * moving_bytes, f"memories__{held}__capacity_bytes": 2 * 4},
    )
    got = closed_form(gemm_plan(24, 9, 24, accelerator), accelerator).schedule
    fetches = (got.lhs_fetches, got.rhs_fetches)
    assert fetches == ((moving_fetches, held_fetches) if weights else (held_fetches, moving_fetches))


def test_traffic_of_a_layer_that_fits_is_every_tensor_once() -> None:
    accelerator = machine()
    got = closed_form(gemm_plan(5, 11, 7, accelerator), accelerator)
    # int8 operands and results; the weight brings one fp32 scale
    assert got.dram.read_bits == 8 * 5 * 11 + 8 * 11 * 7 + 32
    assert got.dram.write_bits == 8 * 5 * 7
    # lhs goes into the array once for each pair of columns, rhs once for each three rows
    assert got.buffers["activation"].read_bits == 8 * 5 * 11 * 4
    assert got.buffers["weight"].read_bits == 8 * 11 * 7 * 2
    assert got.buffers["activation"].write_bits == 8 * 5 * 11
    assert got.buffers["weight"].write_bits == 8 * 11 * 7
    # one sum a result stays in the array: written once as int8, read once on its way out
    assert got.buffers["output"].write_bits == got.buffers["output"].read_bits == 8 * 5 * 7


def test_an_operand_that_does_not_fit_comes_again_for_each_chunk_of_the_other() -> None:
    """Room for one panel of three rows of lhs, and for one panel of two columns of rhs: five chunks of three rows."""
    accelerator = machine(
        memories__activation__capacity_bytes=2 * 3 * 64,
        memories__weight__capacity_bytes=2 * 2 * 64,
        memories__output__capacity_bytes=2 * 3 * 2 * 4,
        memories__dram__bandwidth_gb_per_s=0.1,
    )
    got = closed_form(gemm_plan(15, 64, 8, accelerator), accelerator)
    assert sorted([got.schedule.lhs_fetches, got.schedule.rhs_fetches]) in ([1, 4], [1, 5])
    # lhs 15 x 64 read once for each of 4 column panels is 3840 bytes more than rhs 64 x 8 for each of 5 row panels
    assert (got.schedule.lhs_fetches, got.schedule.rhs_fetches) == (1, 5)
    assert got.dram.read_bits == 8 * (15 * 64 + 5 * 64 * 8) + 5 * 32


def test_a_range_scan_is_a_barrier() -> None:
    """One token is scanned before the array can start: 11 fp16 elements, on 2 lanes or through DRAM."""
    slow, fast = (machine(vector__lanes=lanes, memories__dram__bandwidth_gb_per_s=1000.0) for lanes in (1, 11))
    one, two = (closed_form(gemm_plan(5, 11, 7, a, "w8a8-dynamic"), a) for a in (slow, fast))
    static = closed_form(gemm_plan(5, 11, 7, fast), fast)
    assert one.total_cycles > two.total_cycles
    assert two.total_cycles > static.total_cycles
    assert static.dram.read_bits < two.dram.read_bits, "fp16 activations instead of int8 ones"


def test_actions_repeat_as_often_as_their_operand_moves() -> None:
    accelerator = machine(memories__activation__capacity_bytes=64, memories__weight__capacity_bytes=64)
    got = closed_form(gemm_plan(15, 64, 8, accelerator, "w8a8-dynamic"), accelerator)
    assert got.repeats == {
        Per.CALL: 1,
        Per.LHS_FETCH: got.schedule.lhs_fetches,
        Per.RHS_FETCH: got.schedule.rhs_fetches,
        Per.RHS_STREAM: got.schedule.rhs_streams,
    }


@pytest.mark.parametrize(("buffer", "need"), [("activation", 3 * 1), ("weight", 2 * 1), ("output", 3 * 2 * 4)], ids=str)
def test_a_buffer_too_small_for_a_tile_is_named_with_its_bytes(buffer: str, need: int) -> None:
    """int8 operands of 3 rows and 2 columns, 32-bit sums of 6 outputs; half of a double buffer holds a tile."""
    fits = machine(**{f"memories__{buffer}__capacity_bytes": 2 * need})
    closed_form(gemm_plan(5, 11, 7, fits), fits)
    small = machine(**{f"memories__{buffer}__capacity_bytes": 2 * need - 1})
    text = f"memories.{buffer}.capacity_bytes must hold one tile of gemm, {need} bytes, not {need - 1}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        closed_form(gemm_plan(5, 11, 7, small), small)


def test_bound_names_what_sets_the_pace() -> None:
    base = roomy(3, 2, "output_stationary")
    fast = base.replace(memories__dram__bandwidth_gb_per_s=1e6)
    assert closed_form(gemm_plan(50, 110, 70, fast), fast).bound == "compute"
    slow = base.replace(memories__dram__bandwidth_gb_per_s=1e-3)
    assert closed_form(gemm_plan(50, 110, 70, slow), slow).bound == "dram"
    lane = fast.replace(vector__lanes=1, array__rows=64, array__columns=64)
    assert closed_form(gemm_plan(500, 2, 500, lane), lane).bound == "vector"
    narrow = fast.replace(memories__weight={"capacity_bytes": 1 << 30, "banks": 1, "bank_width_bits": 1})
    assert closed_form(gemm_plan(50, 110, 70, narrow), narrow).bound == "sram"


def test_results_are_plain_numbers() -> None:
    accelerator = machine()
    got = closed_form(gemm_plan(5, 11, 7, accelerator), accelerator)
    assert {type(v) for v in (got.total_cycles, got.compute_cycles, got.stall_cycles)} == {int}
    assert type(got.utilization) is float
    assert type(got.bound) is str
    assert replace(got.schedule) == got.schedule
