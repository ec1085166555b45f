from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import QUANTIZE_PROFILES, dequantize, quantize
from quant import IntFormat
from tests import reference


@pytest.mark.parametrize("profile", QUANTIZE_PROFILES)
@settings(max_examples=150, deadline=None)
@given(
    scale=st.floats(2.0**-10, 2.0**4, width=32) | st.sampled_from([0.5, 0.25, float(np.float32(0.00214854861))]),
    level=st.integers(-2000, 2000),
    nudge=st.integers(-1, 1),
    zero=st.integers(-8, 7),
    output=st.sampled_from(["int8", "int4", "int16"]),
)
def test_profiles_match_exact_arithmetic(
    profile: str, scale: float, level: int, nudge: int, zero: int, output: str
) -> None:
    # Values on and around the ties of the grid.
    x = np.float32(level / 8 * scale)
    x = np.nextafter(x, np.float32(nudge * np.inf)) if nudge else x
    form = IntFormat.parse(output)
    want = reference.quantize(Fraction(float(x)), Fraction(scale), zero, form.lo, form.hi, profile)
    got = quantize([x], scale, zero, output=form, profile=profile)
    assert got.dtype == form.dtype
    assert got.tolist() == [want]


def test_division_and_reciprocal_part_where_fbgemm_says() -> None:
    x, scale = np.float32(0.273939937), np.float32(0.00214854861)
    assert quantize(x, scale, output="u8", profile="torch-fake") != quantize(x, scale, output="u8")


def test_zero_points_before_and_after_rounding_part_at_ties() -> None:
    x = np.arange(-20, 20) + 0.5
    before, after = quantize(x, 1.0, 3, profile="torch"), quantize(x, 1.0, 3, profile="torch-fake")
    assert np.all(before != after)
    np.testing.assert_array_equal(quantize(x, 1.0, 2, profile="torch"), quantize(x, 1.0, 2, profile="torch-fake"))


def test_the_fused_zero_point_of_torch_is_told_from_one_added_afterwards() -> None:
    scale = np.float32(0.037)
    x = ((np.arange(-110, 110) + 0.5) * float(scale)).astype(np.float32)
    got = quantize(x, scale, 3, profile="torch")
    exact = [reference.quantize(Fraction(float(v)), Fraction(float(scale)), 3, -128, 127, "torch") for v in x]
    assert got.tolist() == exact
    afterwards = np.clip(np.rint(x * (np.float32(1) / scale) + np.float32(3)), -128, 127)
    assert np.any(got != afterwards)


# Measured on the runtimes named in the profiles: NaN, inf, -inf, 3e9, -3e9.
SPECIAL = {
    "onnxruntime": [-128, 127, -128, 127, -128],
    "onnx-reference": [-128, -128, -128, -128, -128],
    "torch": [127, 127, -128, 127, -128],
    "torch-fake": [-128, 127, -128, 127, -128],
    "tflite-reference": [-128, -128, -128, -128, -128],
    "xnnpack": [127, 127, -128, 127, -128],
}


@pytest.mark.parametrize("profile", SPECIAL)
def test_runtimes_take_special_values_as_they_do(profile: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9], np.float32)
    assert quantize(x, 0.1, 3, profile=profile).tolist() == SPECIAL[profile]


def test_runtimes_take_a_vanishing_scale_as_they_do() -> None:
    x = np.array([0.0, 1.0, -1.0], np.float32)
    assert quantize(x, 0.0, profile="onnxruntime").tolist() == [-128, 127, -128]
    assert quantize(x, 0.0, profile="torch").tolist() == [127, 127, -128]
    assert quantize(x, 1e-40, 3, profile="torch").tolist() == [127, 127, -128]


def test_dequantize_rounds_once_or_twice() -> None:
    q = np.array([2**24 + 1, -3, 5])
    scale = np.float32(0.1)
    exact = [Fraction(int(v)) * Fraction(float(scale)) for v in q]
    twice = [reference.to_float(reference.to_float(Fraction(int(v))) * Fraction(float(scale))) for v in q]
    once = [reference.to_float(e) for e in exact]
    assert [Fraction(float(v)) for v in dequantize(q, scale)] == twice
    assert [Fraction(float(v)) for v in dequantize(q, scale, profile="float64")] == once
    assert dequantize(q, scale, 5)[2] == 0


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"x": [1, np.nan]}, ValueError, "x must be finite, not nan"),
        ({"x": [np.inf, 1]}, ValueError, "x must be finite, not inf"),
        ({"scale": 0.0}, ValueError, "scale must be positive and finite, not 0.0"),
        ({"scale": [1.0, -1.0]}, ValueError, "scale must be positive and finite, not -1.0"),
        ({"scale": [1.0, 1.0, 1.0]}, ValueError, "scale must broadcast to the values (2,), not have shape (3,)"),
        ({"zero_point": 0.5}, TypeError, "zero_point must hold integers, not float64"),
        ({"zero_point": 200}, ValueError, "zero_point must lie in int8 (-128..127), not 200"),
        (
            {"profile": "best"},
            ValueError,
            f"profile must be one of {', '.join(QUANTIZE_PROFILES)}, not 'best'",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(change: dict[str, Any], kind: type[Exception], text: str) -> None:
    call: dict[str, Any] = {"x": [1.0, 2.0], "scale": 1.0} | change
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        quantize(**call)


def test_bad_integers_are_not_dequantized() -> None:
    with pytest.raises(TypeError, match=r"^q must hold integers, not float64$"):
        dequantize([0.5], 1.0)
    with pytest.raises(ValueError, match=r"^profile must be float32 or float64, not 'fast'$"):
        dequantize([1], 1.0, profile="fast")
