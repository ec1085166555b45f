from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import (
    PROFILES,
    Convertor,
    FixedPoint,
    RealScale,
    ScalePair,
    activation_clamp,
    multiplier_profile,
    output_multiplier,
    requantize,
)
from hwsim.datapath.multipliers import nearest_power_of_two, quantized_multiplier
from quant import IntFormat, Rounding
from tests import reference

BY_SCALE = [
    name
    for name in PROFILES
    if name not in {"cutlass-two-scales", "nvdla-convertor"} and not name.startswith(("shift-", "gemmini-shift"))
]
SHIFTS = [name for name in PROFILES if name.startswith("shift-") or name == "gemmini-shift"]
ACCUMULATORS = st.integers(-(2**31), 2**31 - 1) | st.integers(-4000, 4000) | st.integers(2**24 - 9, 2**24 + 9)


def exact_clamp(x: int, form: IntFormat) -> int:
    return min(max(x, form.lo), form.hi)


@pytest.mark.parametrize("name", BY_SCALE)
@settings(max_examples=60, deadline=None)
@given(
    acc=st.lists(ACCUMULATORS, min_size=1, max_size=20),
    mantissa=st.integers(2**23, 2**24 - 1) | st.just(2**23) | st.sampled_from([0xAAAAAB, 0xCCCCCD]),
    power=st.integers(-7, -1),
    extra=st.integers(-8, 8),
    zero_point=st.integers(-128, 127),
    output=st.sampled_from(["int8", "int16", "int4", "u8", "int8_narrow"]),
)
def test_profiles_match_exact_arithmetic(
    name: str, acc: list[int], mantissa: int, power: int, extra: int, zero_point: int, output: str
) -> None:
    # A float64 scale around a float32 one, so that the families that keep less differ.
    scale = float(np.ldexp(mantissa + extra / 64, power - 24))
    form = IntFormat.parse(output)
    zero = exact_clamp(zero_point, form)
    if name == "tflite-int16":
        acc = [a * 1000 for a in acc]
    want = [exact_clamp(reference.requantize(a, Fraction(scale), zero, name), form) for a in acc]
    got = requantize(np.array(acc), scale, profile=name, zero_point=zero, output=form)
    assert got.dtype == form.dtype
    assert got.tolist() == want


@pytest.mark.parametrize("name", SHIFTS)
@settings(max_examples=60, deadline=None)
@given(acc=st.lists(ACCUMULATORS, min_size=1, max_size=20), shift=st.integers(0, 31), zero_point=st.integers(-9, 9))
def test_shifts_match_exact_arithmetic(name: str, acc: list[int], shift: int, zero_point: int) -> None:
    want = [reference.requantize(a, Fraction(1, 2**shift), zero_point, name) for a in acc]
    form = IntFormat(33 if shift < 31 else 16)
    got = requantize(np.array(acc), 2.0**-shift, profile=name, zero_point=zero_point, output=form)
    assert got.tolist() == [exact_clamp(w, form) for w in want]


@pytest.mark.parametrize("name", BY_SCALE)
def test_profiles_at_every_tie_of_one_half(name: str) -> None:
    acc = np.arange(-600, 601)
    for zero in (0, 1, -7):
        want = [exact_clamp(reference.requantize(int(a), Fraction(1, 2), zero, name), IntFormat(8)) for a in acc]
        np.testing.assert_array_equal(requantize(acc, 0.5, profile=name, zero_point=zero), want)


@pytest.mark.parametrize("bits", [2, 3, 8, 12, 16, 24, 31, 32])
@pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.name)
def test_a_multiplier_of_any_width_matches_exact_arithmetic(bits: int, rounding: Rounding) -> None:
    rng = np.random.default_rng(7)
    acc = rng.integers(-(2**31), 2**31, 99)
    for scale in (0.3, 2.0**-8, 1 / 3000, 0.9999):
        multiplier, shift = reference.quantize_multiplier(Fraction(scale), bits)
        want = [
            reference.rounded(Fraction(int(a) * multiplier, 2 ** (bits - 1)) / Fraction(2) ** shift, rounding.name)
            for a in acc
        ]
        got = requantize(acc, scale, profile=multiplier_profile(bits, rounding), output=IntFormat(40))
        assert got.tolist() == want


def test_the_eleven_meanings_differ() -> None:
    acc = np.arange(-4000, 4001)
    results = {
        name: requantize(acc, 0.046875 * (1 + 2.0**-30), profile=name, zero_point=3, output="int16").tobytes()
        for name in BY_SCALE
    }
    assert len({results[n] for n in ("gemmlowp-double", "tflite-single", "ruy-avx512", "xnnpack-8.8")}) >= 2
    ties = {
        name: requantize(acc, 0.0625, profile=name, zero_point=3, output="int16").tobytes()
        for name in ("gemmlowp-double", "ruy-avx512", "float32-even", "zero-point-first", "multiply-floor")
    }
    assert len(set(ties.values())) == 5


def test_scales_vary_per_channel_and_per_row() -> None:
    acc = np.arange(-30, 30).reshape(3, 4, 5) * 91
    scale = np.array([0.1, 0.02, 0.3, 0.04, 0.5])
    zero = np.array([[1], [2], [3], [4]])
    got = requantize(acc, scale, zero_point=zero, profile="gemmlowp-double")
    for i, j, k in np.ndindex(acc.shape):
        want = reference.requantize(int(acc[i, j, k]), Fraction(float(scale[k])), j + 1, "gemmlowp-double")
        assert got[i, j, k] == exact_clamp(want, IntFormat(8))
    assert requantize(np.int64(100), 0.5).shape == ()
    assert requantize(np.zeros((0, 5), int), scale).shape == (0, 5)


def test_large_accumulators_are_cut_into_chunks_without_a_seam() -> None:
    acc = np.random.default_rng(7).integers(-(2**20), 2**20, (1500, 97))
    scale = np.linspace(1e-4, 2e-4, 97)
    whole = requantize(acc, scale)
    rows = np.concatenate([requantize(row, scale)[None] for row in acc])
    np.testing.assert_array_equal(whole, rows)
    np.testing.assert_array_equal(requantize(acc, scale[np.newaxis]), whole)
    per_row, zero = np.linspace(1e-4, 2e-4, 1500)[:, np.newaxis], np.arange(1500)[:, np.newaxis] % 50
    rows = np.concatenate([requantize(r, s, zero_point=z)[None] for r, s, z in zip(acc, per_row, zero, strict=True)])
    np.testing.assert_array_equal(requantize(acc, per_row, zero_point=zero), rows)


def test_bias_and_clamp_are_fused() -> None:
    acc, bias = np.array([[-100, 0, 100]]), np.array([10, 20, 30])
    got = requantize(acc, 0.5, bias=bias, zero_point=-5, clamp=activation_clamp("relu", 0.1, -5))
    assert got.tolist() == [[-5, 5, 60]]


def test_encodings_can_be_given_in_place_of_scales() -> None:
    acc = np.arange(-50, 50)
    encoding = quantized_multiplier(np.array(0.3))
    np.testing.assert_array_equal(requantize(acc, encoding), requantize(acc, 0.3))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.int64])
@pytest.mark.parametrize("name", ["gemmlowp-double", "tflite-single", "multiply-even", "tflite-int16"])
def test_encodings_of_any_integer_type_mean_the_same(name: str, dtype: type) -> None:
    acc, multiplier = np.arange(-50, 50) * 997, 1288490189
    encoding = FixedPoint(np.array(multiplier, np.int32), np.array(8, dtype), 32)
    got = requantize(acc, encoding, profile=name, output="int16")
    exact = Fraction(multiplier, 2**31) / 2**8
    assert got.tolist() == [reference.requantize(int(a), exact, 0, name) for a in acc]


@settings(max_examples=200, deadline=None)
@given(
    acc=ACCUMULATORS,
    row=st.floats(2.0**-20, 1, width=32),
    column=st.floats(2.0**-20, 1, width=32),
    bias=st.none() | st.floats(-100, 100, width=32),
)
def test_two_scales_and_a_fused_bias_match_exact_arithmetic(
    acc: int, row: float, column: float, bias: float | None
) -> None:
    want = reference.two_scales(acc, Fraction(row), Fraction(column), None if bias is None else Fraction(bias))
    scale = ScalePair(np.array([[row]], np.float32), np.array([column], np.float32))
    got = requantize([[acc]], scale, profile="cutlass-two-scales", bias=bias, output=IntFormat(34))
    assert got[0, 0] == exact_clamp(want, IntFormat(34))


@given(
    acc=ACCUMULATORS,
    bias=st.floats(-1000, 1000, width=32),
    scale=st.floats(2.0**-20, 1, width=32),
)
def test_a_real_bias_matches_exact_arithmetic(acc: int, bias: float, scale: float) -> None:
    want = reference.requantize(acc, Fraction(scale), 3, "torch-linear", bias=Fraction(bias))
    got = requantize([acc], scale, profile="torch-linear", bias=bias, zero_point=3, output=IntFormat(34))
    assert got[0] == exact_clamp(want, IntFormat(34))


@given(
    x=ACCUMULATORS,
    offset=st.integers(-(2**15), 2**15),
    scale=st.integers(-(2**15), 2**15 - 1),
    shift=st.integers(0, 31),
)
def test_the_convertor_matches_exact_arithmetic(x: int, offset: int, scale: int, shift: int) -> None:
    registers = Convertor(np.array(offset), np.array(scale), np.array(shift))
    got = requantize([x], registers, profile="nvdla-convertor", output=IntFormat(16))
    assert got[0] == exact_clamp(reference.convertor(x, offset, scale, shift), IntFormat(16))


@given(st.floats(2.0**-31, 2.0**29))
def test_quantized_multipliers_match_exact_arithmetic(scale: float) -> None:
    multiplier, shift, bits = quantized_multiplier(np.asarray(scale))
    assert (int(multiplier), int(shift)) == reference.quantize_multiplier(Fraction(scale))
    assert bits == 32
    assert 2**30 <= multiplier < 2**31


def test_a_multiplier_that_rounds_up_to_one_carries() -> None:
    assert [int(x) for x in quantized_multiplier(np.asarray(1 - 2.0**-40))] == [2**30, -1, 32]


@pytest.mark.parametrize("multiplier", [0x40000000, 0x7FFEFFFF, 0x7FFF0000, 0x7FFF8000, 0x7FFFFFFF])
def test_the_16_bit_multiplier_never_reaches_one(multiplier: int) -> None:
    acc = 2**40 + 12345
    reduced = 0x7FFF if multiplier >= 0x7FFF0000 else (multiplier + (1 << 15)) >> 16
    encoding = FixedPoint(np.array(multiplier), np.array(0), 32)
    got = requantize([acc], encoding, profile="tflite-int16", output=IntFormat(48))
    assert got[0] == reference.rounding_shift(acc * reduced, 15, "HALF_UP")


def test_nearest_powers_of_two_by_ratio() -> None:
    scales = np.array([0.7, 0.71, 1.0, 1.41, 1.42, 3.0])
    assert nearest_power_of_two(scales).tolist() == [0.5, 1.0, 1.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("activation", "zero", "want"),
    [("none", 3, (-128, 127)), ("relu", 3, (3, 127)), ("relu6", -128, (-128, -8)), ("relu_n1_to_1", 0, (-20, 20))],
)
def test_activation_ranges(activation: str, zero: int, want: tuple[int, int]) -> None:
    assert activation_clamp(activation, 0.05, zero) == want


def test_multipliers_of_a_layer_keep_the_order_of_their_family() -> None:
    scales = (np.float32(0.0123), np.float32(0.0077), np.float32(0.031))
    exact = [Fraction(float(x)) for x in scales]
    single = reference.to_float(reference.to_float(exact[0] * exact[1]) / exact[2])
    double = reference.to_double(reference.to_double(exact[0] * exact[1]) / exact[2])
    assert Fraction(float(output_multiplier(*scales, "float32-even"))) == single
    assert Fraction(float(output_multiplier(*scales, "gemmlowp-double"))) == double
    assert single != double


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"acc": [0.5]}, TypeError, "acc must hold integers, not float64"),
    ({"acc": [2**31]}, ValueError, "acc must lie in int32 (-2147483648..2147483647), not 2147483648"),
    ({"scale": [0.5, 0.5]}, ValueError, "scale must broadcast to the accumulators (3,), not have shape (2,)"),
    ({"scale": 0.0}, ValueError, "scale must be positive and finite, not 0.0"),
    ({"scale": np.nan}, ValueError, "scale must be positive and finite, not nan"),
    ({"scale": -1.0}, ValueError, "scale must be positive and finite, not -1.0"),
    ({"scale": 2.0**-33}, ValueError, f"scale must lie in [2**-32, 2**30) for this profile, not {2.0**-33}"),
    ({"scale": 2.0**30}, ValueError, "scale must lie in [2**-32, 2**30) for this profile, not 1073741824.0"),
    (
        {"scale": 2.0**20, "acc": [5000]},
        ValueError,
        "accumulator shifted left by 21 must fit int32, not reach 10485760000",
    ),
    (
        {"scale": 1.0, "profile": "qnnpack-q31"},
        ValueError,
        "scale must lie in [2**-32, 2**0) for this profile, not 1.0",
    ),
    (
        {"scale": 256.0, "profile": "xnnpack-rndnu"},
        ValueError,
        "scale must lie in [2**-32, 2**8) for this profile, not 256.0",
    ),
    (
        {"scale": 0.003, "profile": "xnnpack-8.8"},
        ValueError,
        "scale must lie in 2**-8..2**7 for an 8.8 multiplier, not 0.003000000026077032",
    ),
    (
        {"scale": 1e-50, "profile": "float32-even"},
        ValueError,
        "scale must be positive and finite in float32, not 1e-50",
    ),
    ({"scale": 0.3, "profile": "shift-even"}, ValueError, "scale must be a power of two, not 0.3"),
    ({"scale": "x"}, TypeError, "scale must hold real numbers, not <U1"),
    (
        {"profile": "nvdla-convertor"},
        ValueError,
        "scale must be a Convertor of offset, scale and shift for nvdla-convertor",
    ),
    (
        {"profile": "cutlass-two-scales"},
        ValueError,
        "scale must be a ScalePair of row and column scales for cutlass-two-scales",
    ),
    ({"zero_point": 128}, ValueError, "zero_point must lie in int8 (-128..127), not 128"),
    ({"zero_point": 0.5}, TypeError, "zero_point must hold integers, not float64"),
    ({"clamp": (-200, 3)}, ValueError, "clamp must be a range within -128..127, not -200..3"),
    ({"clamp": (4, 3)}, ValueError, "clamp must be a range within -128..127, not 4..3"),
    (
        {"bias": 2**31 - 1, "acc": [1, 0, 0]},
        ValueError,
        "acc + bias must lie in int32 (-2147483648..2147483647), not 2147483648",
    ),
    ({"bias": [np.nan], "profile": "torch-linear"}, ValueError, "bias must be finite, not nan"),
    ({"bias": [1e39], "profile": "torch-linear"}, ValueError, "bias must be finite, not inf"),
    ({"bias": [1, 2]}, ValueError, "bias must broadcast to the accumulators (3,), not have shape (2,)"),
    (
        {"scale": FixedPoint(np.array(3), np.array(0), 16)},
        TypeError,
        "encoding must be a FixedPoint of 32 bits, not FixedPoint(16)",
    ),
    (
        {"scale": FixedPoint(np.array(3.0), np.array(0), 32)},
        TypeError,
        "encoding must hold integers, not float64",
    ),
    (
        {"scale": RealScale(np.array(0.1)), "profile": "float32-even"},
        TypeError,
        "encoding must hold float32, not float64",
    ),
    (
        {"scale": RealScale(np.array(0.1, np.float32)), "profile": "float64-away"},
        TypeError,
        "encoding must hold float64, not float32",
    ),
    (
        {"scale": ScalePair(np.ones(1), np.ones(1, np.float32)), "profile": "cutlass-two-scales"},
        TypeError,
        "encoding must hold float32, not float64",
    ),
    ({"scale": RealScale(np.array(1))}, TypeError, "encoding must hold floats, not int64"),
]


@pytest.mark.parametrize(("change", "kind", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_bad_input_gets_one_clear_error(change: dict[str, Any], kind: type[Exception], text: str) -> None:
    call: dict[str, Any] = {"acc": [1, 2, 3], "scale": 0.5} | change
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        requantize(**call)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^profile must be one of gemmlowp-double, .*, not 'best'$"):
        requantize([1], 0.5, profile="best")
    with pytest.raises(ValueError, match=r"^bits must be in 2\.\.32, not 33$"):
        multiplier_profile(33)
    with pytest.raises(ValueError, match=r"^activation must be one of none, relu, relu6, relu_n1_to_1, not 'gelu'$"):
        activation_clamp("gelu", 0.1)


def test_every_profile_says_where_it_comes_from() -> None:
    for profile in PROFILES.values():
        assert profile.formula
        assert profile.source
        assert profile.evidence.startswith(("run: ", "from source only", "exact arithmetic"))
