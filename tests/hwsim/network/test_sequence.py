"""Layers after one another: sums, weights fetched ahead, and stages of a pipeline."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
import workloads
from hwsim.network import network_timings, pipeline
from hwsim.timing import closed_form
from tests.hwsim.network.graphs import lowered, one_block

EDGE = hwsim.Accelerator.load("edge-16x16")
AHEAD = EDGE.replace(memories__prefetches_weights=True)


def timings(name: str, tokens: int, scheme: str, machine: hwsim.Accelerator) -> Any:
    return network_timings(lowered(one_block(name, tokens), scheme, machine), machine)


def test_layers_in_sequence_take_the_sum_of_what_each_takes() -> None:
    network = workloads.load("minilm-block")
    plans = lowered(network, "w8a8-static", EDGE)
    assert [t.total_cycles for t in network_timings(plans, EDGE)] == [
        closed_form(plan, EDGE).total_cycles for plan in plans
    ]


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["gpt2", "tinyllama-1.1b"]),
    tokens=st.sampled_from([1, 2, 17, 64, 200]),
    scheme=st.sampled_from(["fp32", "w8a16", "w8a8-static", "w8a8-dynamic"]),
    bandwidth=st.sampled_from([0.4, 3.2, 25.6]),
    weights=st.sampled_from([64, 256, 1024]),
)
def test_weights_fetched_ahead_save_time_but_no_more_than_their_transfer(
    name: str, tokens: int, scheme: str, bandwidth: float, weights: int
) -> None:
    changes = {"memories__dram__bandwidth_gb_per_s": bandwidth, "memories__weight__capacity_bytes": weights * 1024}
    if name == "tinyllama-1.1b" and weights == 64 and scheme == "fp32":
        changes["memories__weight__capacity_bytes"] = 128 * 1024
    plain, ahead = EDGE.replace(**changes), AHEAD.replace(**changes)
    one, other = timings(name, tokens, scheme, plain), timings(name, tokens, scheme, ahead)
    assert one[0].total_cycles == other[0].total_cycles
    half = 8 * changes["memories__weight__capacity_bytes"] / 2 / plain.dram_bits_per_cycle
    for a, b in zip(one[1:], other[1:], strict=True):
        assert 0 <= a.total_cycles - b.total_cycles <= half
        assert b.total_cycles >= b.compute_cycles
        assert b.dram == a.dram
        assert b.utilization <= 1
        assert b.stall_cycles == b.total_cycles - b.compute_cycles
    # The port moves everything within the time of all.
    moved = sum(t.dram.total_bits for t in other) / plain.dram_bits_per_cycle
    assert sum(t.total_cycles for t in other) >= moved


def test_a_layer_bound_by_its_weights_is_spared_what_the_idle_port_before_it_fetched() -> None:
    """Many tokens keep the port of `values` idle; `attention_out` of one token is nothing but weights."""
    network = workloads.load("minilm-block")
    slow = {"memories__dram__bandwidth_gb_per_s": 0.2}
    plans = lowered(network, "w8a8-static", EDGE.replace(**slow))
    scores, out = plans[3], plans[5]
    scores_time, out_time = (closed_form(plan, EDGE.replace(**slow)) for plan in (scores, out))
    assert out_time.bound == "dram"
    first, second = network_timings((scores, out), AHEAD.replace(**slow))
    assert first.total_cycles == scores_time.total_cycles
    bits_per_cycle = EDGE.replace(**slow).dram_bits_per_cycle
    idle = scores_time.total_cycles - scores_time.dram.total_bits / bits_per_cycle
    # k_heads as rhs are read once and fill no half of the weight buffer, so that all of the idle time counts
    ahead = min(idle, 8 * 131072 / bits_per_cycle, out.rhs.total_dram_bits / bits_per_cycle)
    assert ahead > 0
    assert abs(out_time.total_cycles - second.total_cycles - ahead) <= 1


def test_weights_that_stream_leave_room_only_behind_the_last_of_them() -> None:
    """589,824 bytes of int8 weights pass the two halves of 128 KiB: room is free in the last 2/9 of the time."""
    network = workloads.load("minilm-block")
    up, down = (lowered(network, "w8a8-static", AHEAD)[at] for at in (6, 7))
    slow = AHEAD.replace(memories__dram__bandwidth_gb_per_s=0.6)
    alone = [closed_form(plan, slow) for plan in (up, down)]
    before, after = network_timings((up, down), slow)
    assert before == alone[0]
    idle = before.total_cycles - before.dram_cycles
    share = 131072 / (384 * 1536 * before.schedule.rhs_fetches)
    fetch = 131072 * 8 / slow.dram_bits_per_cycle
    ahead = min(idle * share, fetch)
    assert idle * share < fetch
    waits = alone[1].exposed_cycles + alone[1].busy_cycles
    spared = max(alone[1].port_cycles, waits) - max(
        alone[1].port_cycles - ahead, waits - min(ahead, alone[1].first_weight_cycles)
    )
    assert spared > 0
    assert after.total_cycles == alone[1].total_cycles - int(spared)


def test_a_single_buffer_of_weights_can_not_prefetch() -> None:
    text = "weight double_buffered must be True where prefetches_weights is True, not False"
    with pytest.raises(ValueError, match=re.escape(text)):
        AHEAD.replace(memories__weight__double_buffered=False)


@given(
    cycles=st.lists(st.integers(1, 50), min_size=1, max_size=7),
    stages=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_the_slowest_stage_is_the_fastest_of_all_cuts(cycles: list[int], stages: int) -> None:
    class One:
        def __init__(self, total: int) -> None:
            self.total_cycles = total
            self.dram = type("T", (), {"total_bits": 0})

    found = pipeline([One(c) for c in cycles], stages, EDGE)  # type: ignore[misc]
    best = min(
        max(sum(cycles[a:b]) for a, b in itertools.pairwise((0, *cuts, len(cycles))))
        for count in range(min(stages, len(cycles)))
        for cuts in itertools.combinations(range(1, len(cycles)), count)
    )
    assert (found.interval_cycles, found.latency_cycles) == (best, sum(cycles))
    assert len(found.stages) <= stages
    assert max(sum(cycles[a:b]) for a, b in itertools.pairwise((0, *found.stages))) == best


def test_stages_that_share_a_port_are_no_faster_than_it() -> None:
    times = timings("gpt2", 1, "w8a8-static", EDGE)
    moved = sum(t.dram.total_bits for t in times)
    assert pipeline(times, 8, EDGE).interval_cycles == -(-moved // EDGE.dram_bits_per_cycle)


def test_a_pipeline_has_a_stage() -> None:
    with pytest.raises(ValueError, match=r"^stages must be positive, not 0$"):
        pipeline(timings("gpt2", 1, "fp32", EDGE), 0, EDGE)
