"""What functions on the lanes move beside results, counted by hand on small graphs."""

from __future__ import annotations

import pytest

import hwsim
import workloads
from hwsim.network import plan_network, with_functions
from hwsim.plan import Plan
from hwsim.timing import closed_form, run_events
from quant import Scheme
from tests.hwsim.network.graphs import chain, lowered, one_block
from workloads import Network

LANES = hwsim.Accelerator.load("edge-16x16").replace(vector__runs_functions=True, memories__keeps_results=False)


def side(network: Network, scheme: str = "w8a8-static") -> dict[str, set[tuple[str, int, bool]]]:
    plans = with_functions(network, lowered(network, scheme, LANES), LANES)
    return {
        plan.layer.name: {(one.tensor, one.stored.total_dram_bits, one.written) for one in plan.side}
        for plan in plans
        if plan.side
    }


@pytest.mark.parametrize(("scheme", "bits"), [("w8a8-static", 8), ("fp16", 16), ("fp32", 32)])
def test_the_other_side_of_an_addition_is_read(scheme: str, bits: int) -> None:
    assert side(chain(), scheme) == {"down": {("r", 48 * 64 * bits, False)}}


def test_a_host_reads_nothing_here() -> None:
    machine = LANES.replace(vector__runs_functions=False)
    assert not any(p.side for p in with_functions(chain(), lowered(chain(), "fp16", machine), machine))


def test_a_block_reads_its_residual_and_the_constants_of_its_norms() -> None:
    values, constants = 128 * 384 * 8, 384 * 32
    found = side(one_block("minilm-l6", 128))
    assert found["0.attention_out"] == {
        ("x", values, False),
        ("0.attention_norm.gamma", constants, False),
        ("0.attention_norm.beta", constants, False),
    }
    assert set(found) == {"0.attention_out", "0.ffn_down"}


def test_a_residual_stream_is_written_beside_its_norm() -> None:
    values = 128 * 768 * 8
    found = side(one_block("gpt2", 128))["0.attention_out"]
    assert ("x", values, False) in found
    # The sum goes to the next addition, the norm to the next layer: one of them is the result, the other is written.
    assert [(name, bits) for name, bits, written in found if written] == [("0.ffn_norm", values)]


def test_a_gate_reads_its_other_side() -> None:
    found = side(one_block("tinyllama-1.1b", 64))
    assert ("0.ffn_up", 64 * 5632 * 8, False) in found["0.ffn_gate"]


def test_resnet_reads_each_shortcut_once() -> None:
    found = side(workloads.load("resnet50"))
    reads = [bits for tensors in found.values() for _, bits, written in tensors if not written]
    assert len(reads) == 16
    assert sum(reads) == 8 * (3 * 256 * 56**2 + 4 * 512 * 28**2 + 6 * 1024 * 14**2 + 3 * 2048 * 7**2)


def moved(plan: Plan, machine: hwsim.Accelerator) -> tuple[int, int]:
    timing = closed_form(plan, machine)
    return timing.dram.read_bits, timing.dram.write_bits


@pytest.mark.parametrize("name", ["gpt2", "minilm-l6"])
def test_time_and_traffic_follow_in_both_models(name: str) -> None:
    network = one_block(name, 64)
    plain = lowered(network, "w8a8-static", LANES)
    for before, plan in zip(plain, with_functions(network, plain, LANES), strict=True):
        reads, writes = (sum(s.stored.total_dram_bits for s in plan.side if s.written == w) for w in (False, True))
        assert moved(plan, LANES) == (moved(before, LANES)[0] + reads, moved(before, LANES)[1] + writes)
        run = run_events(plan, LANES)
        assert (run.read_bits, run.write_bits) == moved(plan, LANES)


def test_what_is_kept_is_read_from_its_buffer() -> None:
    machine = LANES.replace(memories__keeps_results=True, memories__activation__capacity_bytes=1 << 22)
    plan = next(p for p in plan_network(chain(), Scheme.load("w8a8-static"), machine) if p.layer.name == "down")
    (read,) = plan.side
    assert (read.stored.total_dram_bits, read.stored.kept_bits) == (0, 8)
    alone = Plan(**{name: getattr(plan, name) for name in (
        "layer", "scheme", "verdict", "steps", "lhs", "rhs", "bias", "out", "shared", "kept_bytes", "windows"
    )})  # fmt: skip
    with_it, without = (closed_form(p, machine).buffers["activation"].read_bits for p in (plan, alone))
    assert with_it - without == 48 * 64 * 8
