"""Tensors kept on chip: never more than fits, never less moved than must be, and never slower."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
import workloads
from hwsim.network import keep, kept_tensors, share
from hwsim.timing import closed_form, run_events
from tests.hwsim.network.graphs import chain, cycles, dram_bits, lowered, machine, one_block
from workloads import Network

NETWORKS = {
    "chain": chain(),
    "block": workloads.load("minilm-block"),
    "gpt2": one_block("gpt2", 96),
    "llama": one_block("tinyllama-1.1b", 40),
}
SCHEMES = ["fp32", "w8a16", "w8a8-static", "w8a8-dynamic", "w8a8-smoothquant"]
# What leaves a network from a layer of its own: keys and values of no block do.
KIB = 1024


def at_capacity(capacity: int) -> hwsim.Accelerator:
    return machine(memories__activation__capacity_bytes=capacity)


def compulsory_bits(network: Network, scheme: str) -> int:
    """Weights once and inputs once, as narrow as the scheme stores them."""
    loaded = hwsim.Accelerator.load("edge-16x16")
    plans = lowered(network, scheme, loaded)
    weights = sum(8 * plan.weight_bytes for plan in plans)
    inputs = {plan.layer.lhs: plan.lhs.total_dram_bits for plan in plans if plan.layer.lhs in network.evaluation}
    return int(weights + sum(inputs.values()))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    scheme=st.sampled_from(SCHEMES),
    capacity=st.sampled_from([48, 64, 100, 256, 300, 1024, 4096]),
)
def test_bytes_fit_at_every_node_and_nothing_gets_worse(name: str, scheme: str, capacity: int) -> None:
    network, accelerator = NETWORKS[name], at_capacity(capacity * KIB)
    before = lowered(network, scheme, accelerator)
    after, kept = keep(network, before, accelerator), kept_tensors(network, before, accelerator)
    at = {node.name: position for position, node in enumerate(network.nodes)}
    taken = [sum(one.total_bytes for one in kept if one.first <= position <= one.last) for position in range(len(at))]
    assert max(taken) <= capacity * KIB
    assert [plan.kept_bytes for plan in after] == [taken[at[plan.layer.name]] for plan in after]
    assert len({one.tensor for one in kept}) == len(kept)
    moved = dram_bits(after, accelerator)
    assert compulsory_bits(network, scheme) <= moved <= dram_bits(before, accelerator)
    assert cycles(after, accelerator) <= cycles(before, accelerator)
    assert (moved < dram_bits(before, accelerator)) == bool(kept)


@pytest.mark.parametrize(("name", "scheme"), [("chain", "fp32"), ("chain", "w8a8-static"), ("block", "w8a8-static")])
def test_with_room_for_everything_each_constant_and_input_moves_once(name: str, scheme: str) -> None:
    """Results that only functions read leave no trace: functions write what follows them."""
    large = {f"memories__{buffer}__capacity_bytes": 64 * KIB**2 for buffer in ("activation", "weight", "output")}
    accelerator = machine(**large)
    network = NETWORKS[name]
    plans = keep(network, lowered(network, scheme, accelerator), accelerator)
    assert dram_bits(plans, accelerator) == compulsory_bits(network, scheme)


def test_int8_stays_where_fp32_does_not() -> None:
    network, accelerator = NETWORKS["block"], machine()
    before, after = (
        {scheme: dram_bits(plans(network, lowered(network, scheme, accelerator), accelerator), accelerator)
         for scheme in ("fp32", "w8a8-static")}
        for plans in (lambda _, given, __: given, keep)
    )  # fmt: skip
    assert after["fp32"] == before["fp32"]
    # Of 256 x 384 values in int8, 96 KiB, two fit beside a tile; in fp32 none does.
    assert before["w8a8-static"] - after["w8a8-static"] >= 4 * 8 * 256 * 384


def test_what_is_saved_is_the_write_of_the_maker_and_the_reads_after_it() -> None:
    network = chain()
    accelerator = machine()
    before = lowered(network, "w8a8-static", accelerator)
    kept = {one.tensor: one for one in kept_tensors(network, before, accelerator)}
    size = 48 * 64
    assert {name: one.total_bytes for name, one in kept.items()} == {"h": size, "r": size, "s": size, "u": 48 * 48}
    # h: written; r: read; s: written, read as both operands; u: written
    saved = 8 * (size + size + 3 * size + 48 * 48)
    assert sum(one.saved_bits for one in kept.values()) == saved
    after = keep(network, before, accelerator)
    assert dram_bits(before, accelerator) - dram_bits(after, accelerator) == saved


def test_a_life_spans_from_the_maker_to_the_last_reader() -> None:
    network, accelerator = chain(), machine()
    kept = {one.tensor: one for one in kept_tensors(network, lowered(network, "fp32", accelerator), accelerator)}
    assert {name: (one.first, one.last) for name, one in kept.items()} == {
        "h": (0, 1),
        "r": (1, 2),  # what the addition reads later is in DRAM too
        "s": (2, 4),
        "u": (4, 5),
    }


def test_the_tensor_worth_most_a_byte_and_node_comes_first() -> None:
    network, accelerator = chain(), at_capacity(2 * 48 * 64 + 4096)
    kept = kept_tensors(network, lowered(network, "w8a8-static", accelerator), accelerator)
    worths = [one.saved_bits / one.total_bytes / (one.last - one.first + 1) for one in kept]
    assert worths == sorted(worths, reverse=True)
    assert kept[0].tensor == "s"  # three transfers over three nodes; h, r and u save one for two nodes or more


def test_an_operand_is_fetched_no_more_than_it_is_written() -> None:
    """A kept operand costs its buffer one write by its maker and reads by the array."""
    network, accelerator = chain(), machine()
    up, side, down = keep(network, lowered(network, "w8a8-static", accelerator), accelerator)
    from hwsim.timing import closed_form

    size = 8 * 48 * 64
    assert closed_form(up, accelerator).buffers["activation"].write_bits == size + size  # x, and h to stay
    inner = closed_form(side, accelerator).buffers["activation"]
    assert inner.write_bits == size  # s; r is there
    last = closed_form(down, accelerator)
    assert last.buffers["activation"].write_bits == 8 * 48 * 48  # u
    # s as rhs passes from the activation buffer to the weight buffer
    streams = last.schedule.lhs_streams
    assert last.buffers["activation"].read_bits == size * (streams + last.schedule.rhs_fetches)


def test_a_machine_that_keeps_nothing_has_the_plans_of_its_layers() -> None:
    plain = hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=False)
    plans = lowered(chain(), "w8a8-static", plain)
    assert keep(chain(), plans, plain) == tuple(plans)
    assert kept_tensors(chain(), plans, plain) == ()


def test_integers_of_the_first_reader_stay_for_the_others() -> None:
    network, accelerator = NETWORKS["block"], machine()
    before = lowered(network, "w8a8-dynamic", accelerator)
    kept = next(one for one in kept_tensors(network, before, accelerator) if one.tensor == "hidden")
    # int8 values and an fp32 scale for each of 256 tokens
    assert (kept.form, kept.bits, kept.total_bytes) == ("integers", 8, 256 * 384 + 256 * 4)
    q, k, v = keep(network, before, accelerator)[:3]
    assert [plan.lhs.dram_bits for plan in (q, k, v)] == [16, 0, 0]
    assert [sum(type(step).__name__ == "ScanRange" for step in plan.steps) for plan in (q, k, v)] == [1, 0, 0]


def test_what_is_kept_changes_no_integer() -> None:
    network: Any = NETWORKS["block"]
    for scheme in ("w8a8-static", "w8a8-dynamic"):
        alone, kept = (
            hwsim.simulate(network, scheme, hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=keeps))
            for keeps in (False, True)
        )
        assert None not in {layer.sqnr_db for layer in alone.layers}
        assert [layer.sqnr_db for layer in alone.layers] == [layer.sqnr_db for layer in kept.layers]
        assert alone.output_sqnr_db == kept.output_sqnr_db
        assert math.isclose(alone.totals()["macs"], kept.totals()["macs"], rel_tol=0)
        assert kept.energy_pj < alone.energy_pj


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-static", "w8a8-dynamic"])
@pytest.mark.parametrize("name", ["chain", "llama"])
def test_the_machine_of_events_moves_the_same_bits_of_what_stays(name: str, scheme: str) -> None:
    """Half or all of the buffer taken, read in place or copied, shared or not: no deadlock, no bit lost."""
    network = NETWORKS[name]
    kept = 0
    for capacity in (100, 1024):
        accelerator = at_capacity(capacity * KIB)
        latency = accelerator.memories.dram.latency_ns / accelerator.cycle_ns
        for plan in share(network, keep(network, lowered(network, scheme, accelerator), accelerator)):
            kept += plan.kept_bytes > 0
            closed, run = closed_form(plan, accelerator), run_events(plan, accelerator)
            assert (run.read_bits, run.write_bits) == (closed.dram.read_bits, closed.dram.write_bits)
            port = closed.dram.total_bits / accelerator.dram_bits_per_cycle
            lanes = 2 * plan.lhs.elements * closed.schedule.lhs_fetches / accelerator.vector.lanes
            everything = closed.busy_cycles + port + lanes + latency * (run.transfers + 1)
            assert max(closed.compute_cycles, port) <= run.total_cycles <= everything, plan.layer.name
    assert kept


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-static", "w8a8-dynamic"])
def test_tiles_get_the_room_that_kept_tensors_leave(scheme: str) -> None:
    accelerator, taken = machine(), 150 * KIB
    left = machine(memories__activation__capacity_bytes=accelerator.memories.activation.capacity_bytes - taken)
    for plan in lowered(NETWORKS["block"], scheme, accelerator):
        beside = closed_form(dataclasses.replace(plan, kept_bytes=taken), accelerator)
        assert beside == closed_form(plan, left)
        needs = dataclasses.replace(plan, kept_bytes=accelerator.memories.activation.capacity_bytes)
        with pytest.raises(ValueError, match=r"^memories\.activation\.capacity_bytes must hold one tile of "):
            closed_form(needs, accelerator)


def test_a_plan_says_what_stays() -> None:
    network, accelerator = chain(), machine()
    plans = keep(network, lowered(network, "w8a8-static", accelerator), accelerator)
    taken = [48 * 64, 2 * 48 * 64, 48 * 64 + 48 * 48]
    assert [plan.kept_bytes for plan in plans] == taken
    up, side, _ = (str(plan).splitlines() for plan in plans)
    assert up[-1] == "  tensors between layers: 3,072 bytes of the activation buffer"
    assert "  out: 3,072 x 8 bits that stay, 8 on chip" in up
    assert "  lhs: 3,072 x 8 bits that stay, 8 on chip" in side
    frame = hwsim.simulate(network, "w8a8-static", accelerator).to_frame()
    assert frame["kept_bytes"].tolist() == taken
    q = share(NETWORKS["block"], lowered(NETWORKS["block"], "w8a8-dynamic", accelerator))[0]
    scales = 32 * 256
    stored = f"98,304 x 8 bits in DRAM and {scales:,} of scales, zero points and tables, 8 on chip"
    assert str(q).splitlines()[-1] == f"  integers of lhs for others: {stored}"
    q = keep(NETWORKS["block"], lowered(NETWORKS["block"], "w8a8-dynamic", accelerator), accelerator)[0]
    assert "  lhs: 98,304 x 16 bits in DRAM, and stays, 8 on chip" in str(q)
