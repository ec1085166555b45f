"""Repairs touch the weights of a code other than affine only where no scale of theirs is at fault."""

from __future__ import annotations

import pytest

import hwsim
import quant
import workloads
from hwsim.repair import repaired


@pytest.mark.parametrize("name", ["pow2", "codebook-16"])
def test_activations_are_requantized_whatever_the_code_of_the_weights(name: str) -> None:
    layer = workloads.Layer(
        "conv",
        "conv2d",
        {"b": 1, "c": 4, "h": 8, "w": 8, "o": 4, "r": 3, "s": 3},
        "x",
        "conv.weight",
        "y",
    )
    scheme, machine = (
        quant.Scheme.load(name).replace(activation__layout="b:1,h:1,w:1"),
        hwsim.Accelerator.load("edge-16x16"),
    )
    with pytest.raises(hwsim.IllegalLayoutError) as caught:  # a scale for each pixel, which a 3x3 kernel mixes
        hwsim.lower(layer, scheme, machine)
    found = repaired(scheme, caught.value.verdict)
    assert found is not None
    assert found[0].weight == scheme.weight
