from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.affine import dequantize, fake_quantize, quantize
from quant.formats import BF16, E8M0, FP16, IntFormat, Rounding
from quant.layout import parse_layout
from quant.rounding import Stochastic
from quant.scales import Power, Range, power_scale, round_scale, scale_from_range
from tests.quant import exact

FORMATS = ["int2", "int3", "int4", "int4_narrow", "int8", "int8_narrow", "int12", "int16"]
UNSIGNED = ["u2", "u4", "u8", "u16"]
LAYOUTS = {  # on [5, 7] with axes m, k
    "per_tensor": (-1, -1),
    "m:1": (1, -1),
    "k:1": (-1, 1),
    "per_element": (1, 1),
    "k:3": (-1, 3),
    "m:2,k:3": (2, 3),
    "m:1,k:6": (1, 6),
    "m:1,k:7": (1, 7),
    "m:4,k:8": (4, 8),
    "m:5": (5, -1),
}


def f32(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def normal(shape: tuple[int, ...], seed: int = 7) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * np.exp(rng.normal(size=(*shape[:-1], 1)))
    return x.astype(np.float32)


def parsed_bounds(name: str) -> tuple[int, int]:
    match = re.fullmatch(r"(int|u)(\d+)(_narrow)?", name)
    assert match
    return exact.bounds(int(match[2]), match[1] == "int", match[3] is not None)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_symmetric_quantization_matches_exact_arithmetic(name: str, layout: str) -> None:
    x, block = normal((5, 7)), LAYOUTS[layout]
    lo, hi = parsed_bounds(name)
    q = quantize(x, name, layout, axes="mk")
    scales = exact.symmetric_scales(x, block, hi)
    assert {p: exact.fraction(v) for p, v in np.ndenumerate(q.scales[0])} == scales
    expected, real, outside = exact.codes(
        x, exact.by_element(scales, block, x.shape), dict.fromkeys(exact.points(x.shape), 0), lo, hi
    )
    np.testing.assert_array_equal(q.codes, expected)
    np.testing.assert_array_equal(q.dequantize(), real)
    assert q.zero_point is None
    assert (q.saturated, outside) == (0, 0)
    assert q.codes.dtype == IntFormat.parse(name).dtype


@pytest.mark.parametrize("name", [*FORMATS, *UNSIGNED])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_asymmetric_quantization_matches_exact_arithmetic(name: str, layout: str) -> None:
    x, block = normal((5, 7)) + np.float32(0.5), LAYOUTS[layout]
    lo, hi = parsed_bounds(name)
    q = quantize(x, name, layout, axes="mk", symmetric=False)
    scales, zeros = exact.asymmetric(x, block, lo, hi)
    assert {p: exact.fraction(v) for p, v in np.ndenumerate(q.scales[0])} == scales
    assert q.zero_point is not None
    assert dict(np.ndenumerate(q.zero_point)) == zeros
    expected, real, outside = exact.codes(
        x, exact.by_element(scales, block, x.shape), exact.by_element(zeros, block, x.shape), lo, hi
    )
    np.testing.assert_array_equal(q.codes, expected)
    np.testing.assert_array_equal(q.dequantize(), real)
    assert q.saturated == outside


@pytest.mark.parametrize("mode", Rounding, ids=lambda r: r.name)
@pytest.mark.parametrize("zero_point", [None, 3])
def test_given_scale_matches_exact_arithmetic_in_every_rounding(mode: Rounding, zero_point: int | None) -> None:
    """Multiples of a sixteenth with scale 1/8: half of them are ties."""
    x = (np.arange(-2200, 2201, dtype=np.float32) / 16).reshape(1, -1)
    q = quantize(x, "int8", axes="mk", scale=0.125, zero_point=zero_point, rounding=mode)
    everywhere = list(exact.points(x.shape))
    expected, real, outside = exact.codes(
        x, dict.fromkeys(everywhere, Fraction(1, 8)), dict.fromkeys(everywhere, zero_point or 0), -128, 127, mode.name
    )
    np.testing.assert_array_equal(q.codes, expected)
    np.testing.assert_array_equal(q.dequantize(), real)
    assert q.saturated == outside > 0


def test_division_is_a_division_not_a_reciprocal() -> None:
    """The pair that FBGEMM names, and others found by search, where ``x * (1 / s)`` rounds to another code."""
    pairs = [(0.273939937, 0.00214854861)]
    rng = np.random.default_rng(7)
    for scale in rng.uniform(0.001, 1, 400).astype(np.float32):
        x = (np.arange(-99, 100, 2, dtype=np.float32) / 2) * scale
        differs = np.rint(x / scale) != np.rint(x * (np.float32(1) / scale))
        pairs += [(float(v), float(scale)) for v in x[differs]]
    assert len(pairs) > 100
    for value, scale in pairs:
        quotient = exact.float32(exact.fraction(np.float32(value)) / exact.fraction(np.float32(scale)))
        assert quantize([value], "int16", scale=scale).codes[0] == exact.rounded(quotient, "HALF_EVEN")


@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=12),
    name=st.sampled_from(["int4", "int8_narrow", "u8", "int16"]),
)
@settings(deadline=None)
def test_zero_is_exact_in_any_asymmetric_range(values: list[float], name: str) -> None:
    q = quantize([*values, 0.0], name, symmetric=False)
    assert q.zero_point is not None
    assert q.codes[-1] == q.zero_point[0]
    assert q.dequantize()[-1] == 0
    lo, hi = parsed_bounds(name)
    assert lo <= q.zero_point[0] <= hi


@given(
    values=st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=12),
    name=st.sampled_from(["int3", "int8", "int8_narrow", "u8", "int16"]),
    symmetric=st.booleans(),
)
@settings(deadline=None)
def test_quantizing_again_changes_nothing(values: list[float], name: str, symmetric: bool) -> None:
    x = np.abs(f32(values)) if name == "u8" else f32(values)
    q = quantize(x, name, symmetric=symmetric)
    again = quantize(q.dequantize(), name, scale=q.scales[0], zero_point=q.zero_point)
    np.testing.assert_array_equal(again.codes, q.codes)


@given(values=st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=12), symmetric=st.booleans())
@settings(deadline=None)
def test_error_is_at_most_half_a_step(values: list[float], symmetric: bool) -> None:
    """Half a step, and what the float32 division, product and zero point round: 2**-14 of a step at 9 bits."""
    q = quantize(values, "int8", symmetric=symmetric)
    step = float(q.scales[0][0])
    error = np.abs(np.float64(q.dequantize()) - f32(values)).max()
    assert error <= step * (0.5 + 2.0**-14)


def test_fake_quantize_is_quantize_then_dequantize_bit_for_bit() -> None:
    x = normal((11, 13))
    for kwargs in ({}, {"symmetric": False}, {"scale_format": FP16}):
        q = quantize(x, "int4", "m:1,k:4", axes="mk", **kwargs)
        fake = fake_quantize(x, "int4", "m:1,k:4", axes="mk", **kwargs)
        np.testing.assert_array_equal(fake, dequantize(q))
        zero = q.element_zero_point()
        by_hand = (q.integers.astype(np.int64) - (0 if zero is None else zero)).astype(np.float32) * q.element_scale()
        np.testing.assert_array_equal(fake, by_hand)


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_group_is_per_channel_and_equal_scales_are_per_tensor(symmetric: bool) -> None:
    w = normal((12, 5))
    channel = quantize(w, "int8", "n:1", axes="kn", symmetric=symmetric)
    for layout in ("k:12,n:1", "k:100,n:1"):
        np.testing.assert_array_equal(quantize(w, "int8", layout, axes="kn", symmetric=symmetric).codes, channel.codes)
    tensor = quantize(w, "int8", axes="kn", symmetric=symmetric)
    zero = None if tensor.zero_point is None else np.full((1, 5), tensor.zero_point[0, 0])
    same = quantize(w, "int8", "n:1", axes="kn", scale=np.full((1, 5), tensor.scales[0][0, 0]), zero_point=zero)
    np.testing.assert_array_equal(same.codes, tensor.codes)


@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    blocks=st.lists(st.integers(-1, 8).filter(bool), min_size=4, max_size=4),
    symmetric=st.booleans(),
    order=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_every_layout_equals_quantizing_each_block_alone(
    shape: tuple[int, ...], blocks: list[int], symmetric: bool, order: bool
) -> None:
    """Any number of axes, blocks that do not divide, and memory in either order."""
    x = np.asarray(normal(shape), order="F" if order else "C")
    axes = "abcd"[: len(shape)]
    block = blocks[: len(shape)]
    text = ",".join(f"{a}:{b}" for a, b in zip(axes, block, strict=True) if b > 0) or "1"
    q = quantize(x, "int4", text, axes=axes, symmetric=symmetric)
    real = q.dequantize()
    for key, group in exact.members(shape, block).items():
        where = tuple(np.array(group).T)
        alone = quantize(x[where], "int4", symmetric=symmetric)
        np.testing.assert_array_equal(q.codes[where], alone.codes)
        np.testing.assert_array_equal(real[where], alone.dequantize())
        assert q.scales[0][key] == alone.scales[0][0]


def test_tiles_do_not_show() -> None:
    """A tensor of several tiles against its rows alone, with rows longer and shorter than a tile."""
    for shape in ((3, 40_001), (700, 130), (2, 3, 30_011)):
        x = normal(shape)
        layout = f"{'abc'[len(shape) - 2]}:1,{'abc'[len(shape) - 1]}:64"
        q = quantize(x, "int8", layout)
        whole = np.moveaxis(x, -2, 0)
        codes = np.moveaxis(q.codes, -2, 0)
        for row, code in zip(whole, codes, strict=True):
            last = row[..., -(row.shape[-1] % 64) :]
            np.testing.assert_array_equal(quantize(last, "int8").codes, code[..., -last.shape[-1] :])
            np.testing.assert_array_equal(quantize(row[..., 64:128], "int8").codes, code[..., 64:128])


@pytest.mark.parametrize("symmetric", [True, False])
def test_degenerate_blocks(symmetric: bool) -> None:
    x = f32([[0, 0, 0], [3, 3, 3], [-2, -2, -2], [0, 1e-40, 0]])
    q = quantize(x, "int8", "m:1", axes="mk", symmetric=symmetric)
    assert q.scales[0][0, 0] == 1
    np.testing.assert_allclose(q.dequantize(), x, rtol=1e-6, atol=1e-37)
    np.testing.assert_array_equal(q.dequantize()[0], 0)
    assert q.scales[0][3, 0] == np.float32(2.0**-126)


def two_level_reference(
    x: np.ndarray[Any, Any], coarse: tuple[int, ...], fine: tuple[int, ...], hi: int, largest: int
) -> tuple[dict[exact.Point, Fraction], dict[exact.Point, int]]:
    """Real coarse scale with the largest integer at the largest need; fine integers rounded up."""
    fine_bound = {k: max(abs(exact.fraction(x[p])) for p in g) for k, g in exact.members(x.shape, fine).items()}
    real: dict[exact.Point, Fraction] = {}
    for key, group in exact.members(x.shape, coarse).items():
        bound = max(abs(exact.fraction(x[p])) for p in group)
        real[key] = exact.float32(bound / (hi * largest)) if bound else Fraction(1)
    integer: dict[exact.Point, int] = {}
    for key, group in exact.members(x.shape, fine).items():
        left = exact.float32(exact.float32(fine_bound[key] / real[exact.block_of(group[0], coarse)]) / hi)
        integer[key] = min(max(exact.rounded(left, "UP"), 1), largest)
    return real, integer


@pytest.mark.parametrize(
    ("text", "coarse"), [("m:1 * m:1,k:3@int", (1, -1)), ("1 * m:1,k:3@int", (-1, -1)), ("m:4 * m:2,k:3@int", (4, -1))]
)
def test_two_level_scales_match_exact_arithmetic(text: str, coarse: tuple[int, ...]) -> None:
    fine = (2, 3) if "m:2" in text else (1, 3)
    x = normal((5, 7))
    x[2, 3:6] = 0
    q = quantize(x, "int4", text, axes="mk", integer_bits=4)
    real, integer = two_level_reference(x, coarse, fine, 7, 15)
    assert {p: exact.fraction(v) for p, v in np.ndenumerate(q.scales[0])} == real
    assert {p: int(v) for p, v in np.ndenumerate(q.scales[1])} == integer
    combined = {
        p: exact.float32(real[exact.block_of(p, coarse)] * integer[exact.block_of(p, fine)])
        for p in exact.points(x.shape)
    }
    expected, values, outside = exact.codes(x, combined, dict.fromkeys(combined, 0), -8, 7)
    np.testing.assert_array_equal(q.codes, expected)
    np.testing.assert_array_equal(q.dequantize(), values)
    np.testing.assert_array_equal(
        q.element_scale(), np.reshape([float(combined[p]) for p in exact.points(x.shape)], x.shape)
    )
    assert q.saturated == outside == 0
    assert q.storage.scale_bits == q.scales[0].size * 32 + q.scales[1].size * 4


def test_levels_that_do_not_nest_cover_the_data() -> None:
    x = normal((6, 10)) * np.exp(np.random.default_rng(3).normal(size=(1, 10))).astype(np.float32)
    q = quantize(x, "int8", "m:1 * k:1", axes="mk")
    assert [s.shape for s in q.scales] == [(6, 1), (1, 10)]
    assert q.saturated == 0
    both = quantize(x, "int8", "m:4 * k:6@int", axes="mk")
    assert both.saturated == 0
    np.testing.assert_array_equal(both.element_scale()[4:, 6:], both.scales[0][1, 0] * both.scales[1][0, 1])


@pytest.mark.parametrize("power", ["floor", "ceil", "even", "rceil"])
def test_mx_blocks_match_exact_arithmetic(power: Power) -> None:
    x = normal((3, 70))
    x[0, 0] = x[0, :32].max() * 0 + 4  # exactly a power of two
    x[0, 1:32] = np.clip(x[0, 1:32], -1, 1)
    x[1, 32:64] = 0
    q = quantize(x, "int8_narrow", "m:1,k:32@pow2", axes="mk", power=power)
    for (row, block), scale in np.ndenumerate(q.scales[0]):
        values = x[row, 32 * block : 32 * block + 32]
        bound = exact.fraction(np.abs(values).max())
        if bound == 0:
            assert scale == 1
            continue
        j = -200  # smallest exponent with bound < 2**(j + 1)
        while bound >= Fraction(2) ** (j + 1):
            j += 1
        if power == "ceil" and bound > Fraction(2) ** j:
            j += 1
        if power == "even" and bound >= Fraction(2) ** (j + 1) - Fraction(2) ** (j - 7):
            j += 1
        if power == "rceil" and bound > 127 * Fraction(2) ** (j - 6):
            j += 1
        assert exact.fraction(scale) == Fraction(2) ** (j - 6)
        for value, code in zip(values, q.codes[row, 32 * block : 32 * block + 32], strict=True):
            assert code == min(
                max(exact.rounded(exact.fraction(value) / Fraction(2) ** (j - 6), "HALF_EVEN"), -127), 127
            )
    assert q.storage.scale_bits == 9 * 8
    if power == "rceil":
        assert q.saturated == 0


def test_e8m0_scale_format_takes_the_power_above() -> None:
    need = f32([1, 1.0000001, 0.75, 0, 3])
    np.testing.assert_array_equal(round_scale(need, E8M0), [1, 2, 1, 1, 4])


def test_scale_formats_round_the_scale_and_codes_follow_it() -> None:
    x = normal((4, 9))
    for scale_format in (FP16, BF16):
        q = quantize(x, "int8", "m:1", axes="mk", scale_format=scale_format)
        needed = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
        np.testing.assert_array_equal(q.scales[0], scale_format.round(needed))
        np.testing.assert_array_equal(q.codes, np.clip(np.rint(x / q.scales[0]), -128, 127))
        assert q.storage.scale_bits == 4 * 16
    tiny = quantize(f32([1e-12]), "int8", scale_format=FP16)
    assert tiny.scales[0][0] == np.float32(2.0**-24)


def test_power_scale_refuses_other_names() -> None:
    text = "power must be one of floor, ceil, even, rceil, not 'nearest'"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        power_scale(f32([1]), 127, "nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layout", "zero_layout"), [("n:1", "1"), ("k:4,n:1", "n:1"), ("n:1", "k:4,n:1"), ("n:1 * n:1,k:4@int", None)]
)
def test_zero_point_of_another_layout_covers_the_data(layout: str, zero_layout: str | None) -> None:
    """Every value inside what its scale and its zero point can reach, within half a step."""
    w = normal((10, 3)) + np.float32(0.3)
    q = quantize(w, "u8", layout, axes="kn", symmetric=False, zero_layout=zero_layout)
    zero, scale = q.element_zero_point(), q.element_scale()
    assert zero is not None
    assert q.zero_point is not None
    expected_shape = parse_layout(zero_layout or "n:1", "kn").levels[0].scale_shape("kn", w.shape)
    assert q.zero_point.shape == expected_shape
    np.testing.assert_array_less(np.abs(q.dequantize() - w), 0.5001 * scale)
    np.testing.assert_array_equal(
        quantize(w * 0, "u8", layout, axes="kn", symmetric=False, zero_layout=zero_layout).dequantize(), 0
    )


def test_stochastic_rounder_sees_quotients_in_c_order() -> None:
    x = normal((5, 70))
    q = quantize(x, "int8", "m:2,k:32", axes="mk", rounding=Stochastic(5))
    quotient = x / q.element_scale()
    np.testing.assert_array_equal(q.codes, np.clip(Stochastic(5)(quotient), -128, 127))
    shifted = quantize(x, "u8", axes="mk", symmetric=False, rounding=Stochastic(5))
    assert shifted.zero_point is not None
    expected = Stochastic(5)(x / shifted.scales[0]) + shifted.zero_point
    np.testing.assert_array_equal(shifted.codes, np.clip(expected, 0, 255))


def test_int32_bias_codes_are_exact() -> None:
    """A bias goes to the scale of the products; 24 bits of quotient, 32 bits of code."""
    scale = np.float32(2.0**-20)
    bias = f32([1.5, -300.25, 2047.0, -3000.0])
    q = quantize(bias, "int32", scale=scale)
    np.testing.assert_array_equal(q.codes, [1572864, -314834944, 2146435072, -(2**31)])
    assert q.saturated == 1
    assert q.codes.dtype == np.int32


def test_ranges_given_and_by_percentile() -> None:
    x = normal((4, 101))
    q = quantize(x, "int8", "m:1", axes="mk", range="percentile", percentile=1.0)
    lo, hi = np.percentile(x, [1, 99], axis=1, keepdims=True).astype(np.float32)
    np.testing.assert_array_equal(q.scales[0], np.maximum(-lo, hi) / np.float32(127))
    assert q.saturated > 0
    given_range = quantize(x, "int8", "m:1", axes="mk", range=Range(lo, hi))
    np.testing.assert_array_equal(given_range.codes, q.codes)
    everywhere = quantize(x, "int8", "m:1", axes="mk", range=Range(np.float32(-1), np.float32(2)))
    np.testing.assert_array_equal(everywhere.scales[0], np.full((4, 1), np.float32(2) / np.float32(127)))
    none_cut = quantize(x, "int8", "m:1", axes="mk", range="percentile", percentile=0)
    np.testing.assert_array_equal(none_cut.codes, quantize(x, "int8", "m:1", axes="mk").codes)


def test_unsigned_symmetric_holds_nonnegative_data() -> None:
    x = np.abs(normal((3, 5)))
    q = quantize(x, "u8", "m:1", axes="mk")
    np.testing.assert_array_equal(q.scales[0], x.max(axis=1, keepdims=True) / np.float32(255))
    assert q.zero_point is None


def test_storage_counts_every_bit() -> None:
    """Float32 scale and int8 zero point: 40 bits a pair; groups of 128 in fp16 cost 1/8 bit a weight."""
    w = normal((256, 6))
    q = quantize(w, "int8", "n:1", axes="kn", symmetric=False)
    assert (q.storage.scale_bits + q.storage.zero_point_bits, q.storage.code_bits) == (6 * 40, 256 * 6 * 8)
    grouped = quantize(w, "int4", "k:128,n:1", axes="kn", scale_format=FP16)
    assert grouped.storage.total_bits == 256 * 6 * 4 + 12 * 16
    assert grouped.storage.total_bytes == 256 * 6 // 2 + 24


def test_inputs_of_other_dtypes_become_float32() -> None:
    x = normal((3, 5))
    for other in (x.astype(np.float64), x.tolist()):
        np.testing.assert_array_equal(quantize(other, "int8").codes, quantize(x, "int8").codes)
    half = x.astype(np.float16)
    np.testing.assert_array_equal(quantize(half, "int8").codes, quantize(half.astype(np.float32), "int8").codes)
    np.testing.assert_array_equal(quantize([-3, 0, 127], "int8").codes, [-3, 0, 127])


# fmt: off
ERRORS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (np.empty((0, 3)), {}, ValueError, "x must have at least one axis and one element, not shape (0, 3)"),
    (1.0, {}, ValueError, "x must have at least one axis and one element, not shape ()"),
    ([1.0, np.nan], {}, ValueError, "x must be finite in float32, not NaN"),
    ([1.0, -np.inf], {}, ValueError, "x must be finite in float32, not infinite"),
    ([1e300], {}, ValueError, "x must be finite in float32, not infinite"),
    ([1.0, np.nan], {"scale": 1.0}, ValueError, "x must be finite in float32, not NaN"),
    ([1j], {}, TypeError, "x must be real numbers, not complex128"),
    ([1.0], {"format": "int33"}, ValueError, "format must have at most 32 bits, not 33"),
    ([1.0], {"format": "int1"}, ValueError, "format must hold a positive value, not int1"),
    ([-1.0], {"format": "u8"}, ValueError,
     "x must not be negative in the symmetric unsigned format u8, not -1.0: "
     "choose a signed format or symmetric=False"),
    ([1.0], {"range": "median"}, ValueError,
     "range must be one of minmax, percentile, mse, entropy or a Range, not 'median'"),
    ([1.0], {"range": "percentile", "percentile": 50}, ValueError, "percentile must be in [0, 50), not 50"),
    ([1.0, 2.0], {"range": Range([0, 0, 0], [1, 1, 1])}, ValueError,
     "range must broadcast to the scale shape (1,), not (3,)"),
    ([3e38, -3e38], {"symmetric": False}, ValueError, "hi - lo must be finite in float32, not infinite"),
    ([1.0], {"scale": 0.0}, ValueError, "scale must be positive and finite, not 0.0"),
    ([1.0, 2.0], {"scale": [1.0, 2.0]}, ValueError, "scale must have the scale shape (1,), not (2,)"),
    ([1.0], {"scale": (1.0, 2.0)}, ValueError, "scale must have one array for each of the 1 levels of 1, not 2"),
    ([1.0], {"zero_point": 3}, ValueError, "zero_point must come with a scale, not alone"),
    ([1.0], {"scale": 1.0, "zero_point": 200}, ValueError, "zero_point must be in -128..127, not 200..200"),
    ([1.0], {"scale": 1.0, "zero_point": 0.5}, TypeError, "zero_point must be integers, not float64"),
    ([1.0], {"zero_layout": "1"}, ValueError, "zero_layout must come with symmetric=False, not with symmetric codes"),
    ([1.0], {"integer_bits": 0}, ValueError, "integer_bits must be in 1..16, not 0"),
    ([1.0], {"layout": "m:1", "axes": "mk"}, ValueError, "axes must name the 1 axes of the tensor, not ('m', 'k')"),
    ([1.0], {"layout": "pow2 1"}, ValueError,
     "layout must be of affine codes, not pow2 1: "
     "quantize_pow2 and quantize_codebook make the others"),
]
# fmt: on


@pytest.mark.parametrize(("x", "kwargs", "error", "text"), ERRORS, ids=[e[3][:40] for e in ERRORS])
def test_what_does_not_fit_is_refused(x: Any, kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        quantize(x, **kwargs)


@pytest.mark.parametrize(
    ("lo", "hi", "text"),
    [
        ([0.0], [1.0, 2.0], "lo and hi must have one shape, not (1,) and (2,)"),
        ([np.nan], [1.0], "range must be finite, not NaN or infinite"),
        ([0.0, 2.0], [1.0, 1.0], "lo must be at most hi, not 2.0 and 1.0"),
    ],
)
def test_ranges_that_are_none_are_refused(lo: list[float], hi: list[float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Range(lo, hi)


def test_scale_from_range_is_what_quantize_uses() -> None:
    x = normal((4, 9))
    for name, symmetric in (("int8", True), ("int4_narrow", True), ("u8", False), ("int6", False)):
        q = quantize(x, name, "m:1", axes="mk", symmetric=symmetric)
        bounds = Range(x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True))
        scale, zero = scale_from_range(bounds, name, symmetric)
        np.testing.assert_array_equal(scale, q.scales[0])
        assert (zero is None) == symmetric
        if zero is not None:
            np.testing.assert_array_equal(zero, q.zero_point)
    with pytest.raises(ValueError, match=r"^x must not be negative in the symmetric unsigned format u8, not -1.0: "):
        scale_from_range(Range([-1.0], [1.0]), "u8")


@pytest.mark.parametrize(
    ("power", "bound", "exponent"),
    [
        ("even", 2 - 2.0**-7, -5),  # 127.5 / 64 rounds up to 2
        ("even", 2 - 2.0**-7 - 2.0**-23, -6),
        ("rceil", 127.0, 0),
        ("rceil", 127.00001, 1),
        ("rceil", 63.5, -1),
        ("floor", 2.0, -5),
        ("floor", 1.9999999, -6),
        ("ceil", 2.0, -5),
        ("ceil", 2.0000002, -4),
    ],
)
def test_power_scales_at_the_edges_of_their_derivations(power: Power, bound: float, exponent: int) -> None:
    assert power_scale(f32([bound]), 127, power)[0] == 2.0**exponent


def test_scale_from_range_extends_to_zero() -> None:
    for lo, hi, scale, zero in ((1.0, 4.0, 4 / 255, 0), (-4.0, -1.0, 4 / 255, 255), (0.0, 0.0, 1.0, 0)):
        got, point = scale_from_range(Range([lo], [hi]), "u8", symmetric=False)
        assert got[0] == np.float32(scale)
        assert point is not None
        assert point[0] == zero


def onnxruntime_run(op: str, inputs: dict[str, np.ndarray[Any, Any]], outputs: int, **attributes: Any) -> list[Any]:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    helper = onnx.helper
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, list(inputs), names, **attributes)
    values = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph([node], "g", values, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got: list[Any] = session.run(None, inputs)
    return got


@pytest.mark.parametrize(
    ("dtype", "name", "zero"), [(np.int8, "int8", 5), (np.uint8, "u8", 131), (np.int16, "int16", 0)]
)
def test_quantize_linear_of_onnxruntime_agrees(dtype: type[np.integer], name: str, zero: int) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(64, 257)).astype(np.float32)
    ties = (np.arange(-257 * 32, 257 * 32, dtype=np.float32) / 64).reshape(64, 257)
    for data, scale in ((x, np.float32(0.0123)), (ties, np.float32(1 / 32))):
        inputs: dict[str, Any] = {"x": data, "s": np.array(scale), "z": np.array(zero, dtype)}
        (expected,) = onnxruntime_run("QuantizeLinear", inputs, 1)
        q = quantize(data, name, scale=scale, zero_point=zero)
        np.testing.assert_array_equal(q.codes, expected)
        (real,) = onnxruntime_run("DequantizeLinear", {"q": expected, "s": inputs["s"], "z": inputs["z"]}, 1)
        np.testing.assert_array_equal(q.dequantize(), real)


@pytest.mark.parametrize(("axis", "block", "layout"), [(1, 0, "k:1"), (0, 0, "m:1"), (1, 32, "m:1,k:32")])
def test_channels_and_blocks_of_onnxruntime_agree(axis: int, block: int, layout: str) -> None:
    x = normal((6, 96))
    q = quantize(x, "int8", layout, axes="mk")
    scale = q.scales[0] if block else q.scales[0].reshape(-1)
    inputs: dict[str, Any] = {"x": x, "s": scale, "z": np.zeros(scale.shape, np.int8)}
    attributes = {"axis": axis} | ({"block_size": block} if block else {})
    np.testing.assert_array_equal(q.codes, onnxruntime_run("QuantizeLinear", inputs, 1, **attributes)[0])
    inputs = {"q": q.codes, "s": scale, "z": inputs["z"]}
    np.testing.assert_array_equal(q.dequantize(), onnxruntime_run("DequantizeLinear", inputs, 1, **attributes)[0])


def test_dynamic_quantize_linear_of_onnxruntime_agrees() -> None:
    for seed, shift in itertools.product(range(8), (-3, 0, 0.7, 3)):
        x = normal((40, 17), seed) + np.float32(shift)
        codes, scale, zero = onnxruntime_run("DynamicQuantizeLinear", {"x": x}, 3)
        q = quantize(x, "u8", symmetric=False)
        assert q.zero_point is not None
        assert (q.scales[0][0, 0], q.zero_point[0, 0]) == (scale, zero)
        np.testing.assert_array_equal(q.codes, codes)
