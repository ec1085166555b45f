"""Schemes of a bit width, the digits task, and whole-network inference; nothing here needs PyTorch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import hwsim
import workloads
from hwsim.training import narrowed
from workloads.digits import digits_network, load_digits


@pytest.mark.parametrize("strategy", ["weight_only", "dynamic", "static"])
def test_only_operands_of_the_multiplier_are_narrowed(strategy: Any) -> None:
    scheme = narrowed(strategy, 3)
    assert scheme.weight is not None
    assert scheme.weight.integer_format.bits == 3
    assert (scheme.activation is None) == (strategy == "weight_only")
    if scheme.activation is not None:
        assert scheme.activation.integer_format.bits == 3
    if scheme.output is not None:
        assert scheme.output.integer_format.bits == 8


@pytest.mark.parametrize("bits", [1, 9])
def test_widths_are_checked(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bits must be 2 to 8, not {bits}"):
        narrowed("dynamic", bits)


def test_strategies_are_checked() -> None:
    unknown: Any = "qat"
    with pytest.raises(ValueError, match="strategy must be one of weight_only, dynamic, static, not 'qat'"):
        narrowed(unknown, 4)


def test_every_image_is_in_one_half() -> None:
    digits = load_digits()
    assert len(digits.train) + len(digits.test) == 1797  # as published
    assert digits.train.min() == 0
    assert digits.train.max() == 1
    shares = np.bincount(digits.test_classes) / np.bincount(digits.train_classes)
    assert np.all(np.abs(shares - 0.25) < 0.03)
    rows = {row.tobytes() for row in digits.train}
    assert sum(row.tobytes() in rows for row in digits.test) == 0


def _weights(width: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "hidden.weight": rng.standard_normal((64, width), np.float32),
        "hidden.bias": np.zeros(width),
        "logits.weight": rng.standard_normal((width, 10), np.float32),
        "logits.bias": np.ones(10),
    }


def test_the_network_is_two_products_and_a_relu() -> None:
    weights, digits = _weights(), load_digits()
    network = digits_network(weights)
    hidden = np.maximum(digits.test @ weights["hidden.weight"], 0)
    expected = hidden @ weights["logits.weight"] + 1
    np.testing.assert_allclose(network.run(network.evaluation)["logits"], expected, rtol=1e-4, atol=1e-4)


def test_weights_are_checked() -> None:
    with pytest.raises(ValueError, match=r"weights must be hidden\.weight, hidden.bias, logits.weight, logits.bias"):
        digits_network({"hidden.weight": np.ones((64, 4))})
    with pytest.raises(ValueError, match=r"logits.weight must have shape \[4, 10\], not \[5, 10\]"):
        digits_network({**_weights(), "logits.weight": np.ones((5, 10))})


def test_inference_carries_errors_as_the_simulation_measures_them() -> None:
    network = workloads.load("minilm-block")
    result = hwsim.simulate(network, "w8a8-static")
    out = hwsim.infer(network, "w8a8-static")[network.output]
    reference = network.run(network.evaluation)[network.output].astype(float)
    noise = np.sum((out - reference) ** 2) / np.sum(reference**2)
    assert result.output_sqnr_db == pytest.approx(-10 * np.log10(noise), abs=1e-3)


def test_inference_takes_other_inputs() -> None:
    network = workloads.gemm(4, 64, 2)
    x = np.ones((3, 64), np.float32)
    out = hwsim.infer(network, "w8a8-dynamic", inputs={"x": x})["y"]
    # each row of ones has scale 1/127 and code 127: only the weights are rounded, by half a step each at most
    weight = network.tensors["gemm.weight"]
    assert out.shape == (3, 2)
    bound = 64 * np.abs(weight).max(axis=0) / 127 / 2
    assert np.all(np.abs(out - weight.sum(axis=0)) <= bound * 1.001)


def test_training_without_pytorch_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"training must have PyTorch, which pip install 'hwsim\[qat\]' brings"):
        hwsim.qat_study([4], ["dynamic"])
