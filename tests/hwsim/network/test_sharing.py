"""Quantization that several layers share: counted once, the same integers, never more moved."""

from typing import Any

import numpy as np
import pytest

import hwsim
import workloads
from hwsim.network import share
from hwsim.plan import Plan, Quantize, ScanRange
from hwsim.timing import closed_form, run_events
from quant import OperandSpec, Scheme
from quant.scheme import ActivationPair
from tests.hwsim.network.graphs import dram_bits, lowered, one_block
from workloads import Layer, Network
from workloads.tensors import ShapesOnly

MACHINE = hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=False)
BLOCK = workloads.load("minilm-block")
TOKENS, WIDTH = 256, 384


def uses(plan: Plan, kind: type) -> int:
    """Count elements that a kind of step handles."""
    return sum(action.count for step in plan.steps if isinstance(step, kind) for action in step.actions)


def both(network: Network, scheme: str) -> tuple[Any, Any]:
    plans = lowered(network, scheme, MACHINE)
    return plans, share(network, plans)


def test_q_k_and_v_scan_and_quantize_their_input_once() -> None:
    alone, shared = both(BLOCK, "w8a8-dynamic")
    for plans, counts in ((alone, [1, 1, 1]), (shared, [1, 0, 0])):
        for kind in (ScanRange, Quantize):
            assert [uses(plan, kind) for plan in plans[:3]] == [n * TOKENS * WIDTH for n in counts]
    assert alone[3:] == list(shared[3:])


def test_the_first_writes_integers_and_scales_and_the_others_read_them() -> None:
    _, (q, k, v, *_) = both(BLOCK, "w8a8-dynamic")
    integers = 8 * TOKENS * WIDTH + 32 * TOKENS  # a float32 scale for each token
    assert q.lhs.total_dram_bits == 16 * TOKENS * WIDTH
    assert [q.shared.total_dram_bits, k.lhs.total_dram_bits, v.lhs.total_dram_bits] == [integers] * 3
    assert (k.shared, v.shared) == (None, None)


def test_traffic_falls_by_what_is_no_longer_read_as_floats() -> None:
    alone, shared = both(BLOCK, "w8a8-dynamic")
    floats, integers = 16 * TOKENS * WIDTH, 8 * TOKENS * WIDTH + 32 * TOKENS
    once = [
        sum(s.total_dram_bits for plan in plans for s in (plan.lhs, plan.rhs, plan.out, plan.shared) if s is not None)
        for plans in (alone, shared)
    ]
    assert once[0] - once[1] == 2 * floats - 3 * integers
    assert dram_bits(alone, MACHINE) - dram_bits(shared, MACHINE) >= once[0] - once[1]  # fetched more than once


def test_a_static_scheme_quantizes_an_input_once_and_moves_what_it_moved() -> None:
    alone, shared = both(BLOCK, "w8a8-static")
    assert [uses(plan, Quantize) for plan in alone[:3]] == [TOKENS * WIDTH] * 3
    assert [uses(plan, Quantize) for plan in shared[:3]] == [TOKENS * WIDTH, 0, 0]
    assert dram_bits(alone, MACHINE) == dram_bits(shared, MACHINE)


def test_two_readers_go_on_by_themselves_where_scales_would_cost_more_than_floats() -> None:
    """int8 written and read twice with its scales is no less than fp16 read twice."""
    network = one_block("tinyllama-1.1b", 24)
    plans = dict(zip((layer.name for layer in network.layers), both(network, "w8a8-dynamic")[1], strict=True))
    assert [plans[f"0.{name}"].shared is not None for name in ("q", "ffn_up", "ffn_gate")] == [True, False, False]


@pytest.mark.parametrize("scheme", ["w8a8-smoothquant", "llm-int8", "fp32", "w8a16"])
def test_layers_whose_integers_differ_or_that_have_none_share_nothing(scheme: str) -> None:
    """Smoothing divides by factors of each layer's own weights; outliers stay floats, which each layer needs."""
    alone, shared = both(BLOCK, scheme)
    assert tuple(alone) == shared


def test_what_is_shared_are_the_integers_that_each_would_have_made() -> None:
    plans = {True: both(BLOCK, "w8a8-dynamic")[1][1], False: both(BLOCK, "w8a8-dynamic")[0][1]}
    x = BLOCK.evaluation["hidden"][:7].astype(np.float32)
    weight, bias = (BLOCK.tensors[f"k.{part}"].astype(np.float32) for part in ("weight", "bias"))
    out = {}
    for shared, plan in plans.items():
        samples = hwsim.Samples(x, weight, x @ weight)
        out[shared] = hwsim.execute(hwsim.prepare(plan, samples, bias), x, weight, MACHINE)
    assert (out[True].sums[0] == out[False].sums[0]).all()
    assert (out[True].out == out[False].out).all()


@pytest.mark.parametrize("scheme", ["w8a8-static", "w8a8-dynamic", "w8a8-asym-act", "w4a8-g128"])
def test_sharing_never_moves_more_nor_costs_more(scheme: str) -> None:
    for network in (BLOCK, one_block("gpt2", 33), one_block("tinyllama-1.1b", 33)):
        alone, shared = both(network, scheme)
        assert dram_bits(shared, MACHINE) <= dram_bits(alone, MACHINE)
        for kind in (ScanRange, Quantize):
            assert sum(uses(plan, kind) for plan in shared) <= sum(uses(plan, kind) for plan in alone)


def test_readers_that_want_other_integers_quantize_anew() -> None:
    """One tensor, multiplied by weights in int8 and by itself in int4."""
    pair = ActivationPair(lhs=OperandSpec(format="int4", layout="per_token"), rhs=OperandSpec(layout="per_token"))
    scheme = Scheme.load("w8a8-dynamic").model_copy(update={"attention": pair})
    layers = [
        Layer(name, "mk,kn->mn", {"m": 32, "k": 16, "n": 8}, "x", f"{name}.weight", name) for name in ("a", "b", "c")
    ]
    gram = Layer("g", "mk,nk->mn", {"m": 32, "k": 16, "n": 32}, "x", "x", "g", "activation", rhs_producer="input")
    absent = ShapesOnly(("x",), "mixed")
    weights = ShapesOnly([layer.rhs for layer in layers], "mixed")
    network = Network("mixed", "written here", (layers[0], gram, *layers[1:]), weights, absent, absent, "-", "-")
    shared = share(network, lowered(network, scheme, MACHINE))
    scans = [[s.operand for s in plan.steps if isinstance(s, ScanRange)] for plan in shared]
    assert scans == [["lhs"], ["lhs", "rhs"], [], []]


def test_the_machine_of_events_writes_the_integers_too() -> None:
    q = both(BLOCK, "w8a8-dynamic")[1][0]
    closed, run = closed_form(q, MACHINE), run_events(q, MACHINE)
    assert (run.read_bits, run.write_bits) == (closed.dram.read_bits, closed.dram.write_bits)
    assert closed.dram.write_bits == 16 * TOKENS * WIDTH + 8 * TOKENS * WIDTH + 32 * TOKENS
