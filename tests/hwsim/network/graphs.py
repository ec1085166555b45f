"""Networks and machines for tests of what happens between layers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import hwsim
from hwsim.plan import Plan
from quant import Scheme
from workloads import SHAPES, Function, FunctionKind, Layer, Network, prefill
from workloads.tensors import ShapesOnly

SIZES = {"m": 48, "n": 64}


def chain() -> Network:
    """Three layers of 48 x 64 values, functions between, a product of a tensor with itself, and a shortcut."""
    square = {"m": 48, "k": 64, "n": 64}
    nodes = (
        Layer("up", "mk,kn->mn", square, "x", "up.weight", "h"),
        Function("relu", FunctionKind.RELU, ("h",), "r", "mn", SIZES),
        Layer("side", "mk,kn->mn", square, "r", "side.weight", "s", lhs_producer="function"),
        Function("split", FunctionKind.SPLIT_HEADS, ("s",), "t", "bhqd", {"b": 1, "h": 1, "q": 48, "d": 64}),
        Layer(
            "down",
            "bhqd,bhkd->bhqk",
            {"b": 1, "h": 1, "q": 48, "k": 48, "d": 64},
            "t",
            "t",
            "u",
            "activation",
            lhs_producer="contraction",
            rhs_producer="contraction",
        ),
        Function("add", FunctionKind.ADD, ("u", "r"), "y", "mn", SIZES),
    )
    absent = ShapesOnly(("x",), "chain")
    weights = ShapesOnly(("up.weight", "side.weight"), "chain")
    return Network("chain", "written here", nodes, weights, absent, absent, "-", "-")


def one_block(name: str, tokens: int) -> Network:
    """One block of a transformer, without the head."""
    return prefill(dataclasses.replace(SHAPES[name], layers=1, vocabulary=0), tokens)


def machine(**changes: Any) -> hwsim.Accelerator:
    """Build the edge machine, keeping results."""
    return hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=True, **changes)


def lowered(network: Network, scheme: str | Scheme, accelerator: hwsim.Accelerator) -> Sequence[Plan]:
    """Plans of a network as each layer alone would have them."""
    return [hwsim.lower(layer, Scheme.load(scheme), accelerator) for layer in network.layers]


def dram_bits(plans: Sequence[Plan], accelerator: hwsim.Accelerator) -> int:
    """Traffic of all layers."""
    from hwsim.timing import closed_form

    return int(sum(closed_form(plan, accelerator).dram.total_bits for plan in plans))


def cycles(plans: Sequence[Plan], accelerator: hwsim.Accelerator) -> int:
    """Cycles of all layers, one after the other."""
    from hwsim.timing import closed_form

    return sum(closed_form(plan, accelerator).total_cycles for plan in plans)
