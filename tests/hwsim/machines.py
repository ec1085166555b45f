"""Small machines, layers and networks for tests; sizes are distinct primes, so that no transposition hides."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim import Accelerator
from workloads import Layer, Network

Float32 = npt.NDArray[np.float32]


def machine(**changes: Any) -> Accelerator:
    """A 3 x 2 array, so that these layers take several folds; fields as `Accelerator.replace` has them."""
    small: dict[str, Any] = {"array__rows": 3, "array__columns": 2, "vector__lanes": 2}
    return _preset().replace(**(small | changes))


@functools.cache
def _preset() -> Accelerator:
    return Accelerator.load("edge-16x16")


def weight_layer(m: int = 5, k: int = 11, n: int = 7, *, bias: bool = True, contraction: str = "mk,kn->mn") -> Layer:
    sizes = {"m": m, "k": k, "n": n}
    return Layer("up", contraction, sizes, "x", "w", "y", bias="b" if bias else None)


def attention_layer(b: int = 2, h: int = 3, q: int = 5, k: int = 7, d: int = 11) -> Layer:
    """Scores: the reduction is the last axis of both operands."""
    sizes = {"b": b, "h": h, "q": q, "k": k, "d": d}
    return Layer("scores", "bhqd,bhkd->bhqk", sizes, "q", "k", "y", "activation", rhs_producer="input")


def values_layer(b: int = 2, h: int = 3, q: int = 5, k: int = 11, d: int = 7) -> Layer:
    """Attention values: the reduction is in the middle of the right operand."""
    sizes = {"b": b, "h": h, "q": q, "k": k, "d": d}
    return Layer("values", "bhqk,bhkd->bhqd", sizes, "p", "v", "y", "activation", rhs_producer="input")


def operands_of(layer: Layer, seed: int = 7, *, lhs_offset: float = 0.0) -> tuple[Float32, Float32, Float32 | None]:
    rng = np.random.default_rng(seed)
    lhs = (rng.standard_normal(layer.lhs_shape) + lhs_offset).astype(np.float32)
    rhs = rng.standard_normal(layer.rhs_shape).astype(np.float32)
    bias = rng.standard_normal(layer.output_shape[-1:]).astype(np.float32) if layer.bias else None
    return lhs, rhs, bias


def network_of(layer: Layer, seed: int = 7) -> Network:
    """A network of one layer with random operands; calibration and evaluation are different draws."""
    inputs: list[dict[str, Float32]] = []
    tensors: dict[str, Float32] = {}
    for draw in (seed, seed + 1):
        lhs, rhs, bias = operands_of(layer, draw)
        named = {layer.lhs: lhs}
        if layer.rhs_kind == "activation":
            named[layer.rhs] = rhs
        elif not tensors:
            tensors[layer.rhs] = rhs
            if bias is not None and layer.bias is not None:
                tensors[layer.bias] = bias
        inputs.append(named)
    return Network("one", "random", (layer,), tensors, inputs[0], inputs[1], "another draw", "a draw")
