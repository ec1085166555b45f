"""Strategies on a chain of layers: which of them hand integers on, and with which arithmetic."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.execution import Execution, Samples, prepare
from hwsim.plan import Quantize, Requantize
from quant import Scheme
from tests import reference
from tests.hwsim import exact
from tests.hwsim.machines import machine
from workloads import Layer

SIZES = {"m": 5, "k": 11, "n": 7}
FIRST = Layer("first", "mk,kn->mn", SIZES, "x", "w1", "h", bias="b1")
SECOND = Layer("second", "mk,kn->mn", {"m": 5, "k": 7, "n": 3}, "h", "w2", "y", bias="b2", lhs_producer="contraction")
FLOAT_UNITS = ("float_", "quantizer", "dequantizer", "int_to_float", "range_scan")


def tensors(seed: int = 7) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"x": (5, 11), "w1": (11, 7), "b1": (7,), "w2": (7, 3), "b2": (3,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def chain(scheme: Scheme) -> tuple[hwsim.Plan, hwsim.Plan, Execution, Execution, dict[str, Any]]:
    """Linear, ReLU, linear. The first result is calibrated after the ReLU, as TensorFlow Lite fuses it."""
    t = tensors()
    hidden = np.maximum(t["x"] @ t["w1"] + t["b1"], 0)
    out = hidden @ t["w2"] + t["b2"]
    plans = [hwsim.lower(layer, scheme, machine()) for layer in (FIRST, SECOND)]
    first = prepare(plans[0], Samples(t["x"], t["w1"], hidden), t["b1"])
    second = prepare(plans[1], Samples(hidden, t["w2"], out), t["b2"])
    one = hwsim.execute(first, t["x"], None, machine())
    two = hwsim.execute(second, np.maximum(one.out, 0), None, machine())
    return plans[0], plans[1], one, two, {**t, "prepared": (first, second)}


def kinds(plan: hwsim.Plan) -> list[str]:
    return [action.component.kind for step in plan.steps for action in step.actions]


@pytest.mark.parametrize("name", ["tflite-int8", "w8a8-asym-act"])
def test_linear_and_relu_run_without_any_float(name: str) -> None:
    _, second, _, _, _ = chain(Scheme.load(name))
    assert not [kind for kind in kinds(second) if kind.startswith(FLOAT_UNITS)]
    quantize = next(step for step in second.steps if isinstance(step, Quantize))
    assert (quantize.at, quantize.actions) == ("requantizer", ())
    assert isinstance(second.steps[-1], Requantize)
    assert (second.lhs.dram_bits, second.out.dram_bits) == (8, 8)


def test_a_dynamic_scheme_hands_floats_on() -> None:
    _, second, _, _, _ = chain(Scheme.load("w8a8-dynamic"))
    assert {"range_scan", "quantizer", "dequantizer"} <= set(kinds(second))
    assert (second.lhs.dram_bits, second.out.dram_bits) == (16, 16)


def test_codes_of_one_layer_are_what_the_next_multiplies() -> None:
    """Both layers once more in Python integers, from the codes of the input to those of the result.

    The ReLU is the lower end of the requantizer: calibrated after it, the zero point is the least code.
    """
    scheme = Scheme.load("tflite-int8")
    _, _, one, two, t = chain(scheme)
    first, second = t["prepared"]
    codes = None
    for prepared, bias in ((first, t["b1"]), (second, t["b2"])):
        lhs, out, weight = prepared.static["lhs"], prepared.static["out"], prepared.weight
        a_scale, out_scale = (exact.fraction(q.scales[0].reshape(())[()]) for q in (lhs, out))
        a_zero, out_zero = (int(q.zero_point.reshape(())[()]) for q in (lhs, out))
        if codes is None:
            codes = np.clip(np.rint(t["x"] / lhs.scales[0]) + a_zero, -128, 127).astype(int)
        rows, columns = codes.shape[0], weight.codes.shape[1]
        result = np.zeros((rows, columns), int)
        for m, n in itertools.product(range(rows), range(columns)):
            both = a_scale * exact.fraction(weight.scales[0].reshape(-1)[n])
            total = sum((int(a) - a_zero) * int(w) for a, w in zip(codes[m], weight.codes[:, n], strict=True))
            total += reference.rounded(
                reference.to_double(exact.fraction(bias[n]) / reference.to_float(both)), "HALF_EVEN"
            )
            ratio = reference.to_double(reference.to_double(both) / out_scale)
            result[m, n] = min(max(reference.requantize(total, ratio, out_zero, "gemmlowp-double"), -128), 127)
        codes = result
        if prepared is first:
            assert out_zero == -128
            assert (codes == -128).sum() > 5, "negative sums end at the code of 0"
            assert one.codes is not None
            np.testing.assert_array_equal(one.codes.codes, codes)
            # the next layer was calibrated on the same tensor
            next_lhs = second.static["lhs"]
            np.testing.assert_array_equal(next_lhs.scales[0], out.scales[0])
            np.testing.assert_array_equal(next_lhs.zero_point, out.zero_point)
    assert two.codes is not None
    np.testing.assert_array_equal(two.codes.codes, codes)
