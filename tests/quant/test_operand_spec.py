from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from quant import (
    LfsrStochastic,
    OperandSpec,
    Stochastic,
    parse_format,
    parse_layout,
    quantize,
    quantize_codebook,
    quantize_codebook_best,
    quantize_operand,
    quantize_pow2,
)
from tests import reference

RNG = np.random.default_rng(7)
X = (RNG.standard_normal((6, 40)) * RNG.uniform(0.1, 3, (6, 1))).astype(np.float32)
ROWS = parse_layout("m:1", "mk")


def square_error(x: Any, q: Any) -> float:
    return float(np.square(q.dequantize().astype(np.float64) - x).sum())


# ---- what a spec admits ----


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"zero_layout": "1"}, "zero_layout must go with symmetric false only, not 1 without a zero point"),
        ({"momentum": 0.1}, "momentum must go with range moving_average only, not 0.1 with minmax"),
        ({"rounding": "stochastic"}, "seed must be given with rounding stochastic"),
        ({"seed": 3}, "seed must go with rounding stochastic only, not 3 with half_even"),
        ({"random_bits": 8}, "random_bits must go with rounding stochastic only, not 8 with half_even"),
        (
            {"rounding": "stochastic", "seed": 16, "random_bits": 4},
            "seed must be a state of 4 random_bits, not 16",
        ),
        ({"exponent": "nearest"}, "exponent must go with code pow2 only, not nearest with affine"),
        ({"centroids": "real"}, "centroids must go with code codebook only, not real with affine"),
        ({"entries": 3}, "entries must go with code codebook only, not 3 with affine"),
        ({"code": "codebook", "format": "u2", "entries": 5}, "entries must be counted by the format u2, not 5"),
        (
            {"code": "codebook", "format": "u4", "range": "entropy"},
            "range must be minmax or mse with code codebook, not entropy",
        ),
        (
            {"code": "pow2", "format": "int4", "rounding": "down"},
            "rounding must be half_even with code pow2, which takes the nearest, not down",
        ),
        ({"code": "pq", "width": 4}, "prototypes must be given with code pq"),
        ({"width": 4}, "width must go with code pq only, not 4 with affine"),
        (
            {"code": "pq", "width": 4, "prototypes": 16, "layout": "m:1"},
            "layout must be per_tensor with code pq, whose prototypes share one scale, not m:1",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'OperandSpec: {text}')}$"):
        OperandSpec.from_fields(fields)


@pytest.mark.parametrize("name", ["fp8", "int8", "fixed1", "fixed25", "fixed"])
def test_scale_formats_are_float_or_fixed_point(name: str) -> None:
    text = f"scale_format must be one of fp32, fp16, bf16, e8m0 or look like fixed16, not {name!r}"
    with pytest.raises(ValueError, match=re.escape(text)):
        OperandSpec.from_fields({"scale_format": name})


EVERYTHING = [
    OperandSpec(format="u4", layout="k:8,m:1", symmetric=False, zero_layout="1", scale_format="bf16"),
    OperandSpec(layout="m:1 * m:1,k:8@int", integer_bits=4, scale_format="fixed16"),
    OperandSpec(layout="m:1,k:8@pow2", power="rceil", rounding="half_away"),
    OperandSpec(rounding="stochastic", seed=5, random_bits=8, range="percentile", percentile=1.0),
    OperandSpec(range="moving_average", momentum=0.5),
    OperandSpec(code="pow2", format="int4", range="mse", exponent="geometric"),
    OperandSpec(code="codebook", format="u4", entries=11, centroids="real", range="mse"),
    OperandSpec(code="pq", prototypes=16, width=4),
]


@pytest.mark.parametrize("spec", EVERYTHING, ids=str)
def test_yaml_of_a_spec_loads_back(spec: OperandSpec) -> None:
    assert OperandSpec.from_yaml(spec.to_yaml()) == spec
    assert "null" not in spec.to_yaml()


# ---- what each field does ----


def test_every_field_of_affine_codes_reaches_the_quantizer() -> None:
    layout = parse_layout("k:8,m:1", "mk")
    q = quantize_operand(X, EVERYTHING[0], layout, zero_layout=parse_layout("1", "mk"))
    expected = quantize(
        X,
        "u4",
        "k:8,m:1",
        axes="mk",
        symmetric=False,
        zero_layout="1",
        scale_format=parse_format("bf16"),  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(q.codes, expected.codes)
    assert q.zero_point is not None
    assert q.zero_point.shape == (1, 1)
    two = quantize_operand(X, EVERYTHING[1], parse_layout(EVERYTHING[1].layout, "mk"))
    assert two.scales[1].max() <= 15
    assert two.level_bits == (24, 4)
    pow2 = quantize_operand(X, EVERYTHING[2], parse_layout(EVERYTHING[2].layout, "mk"))
    assert pow2.saturated == 0, "rceil never clips"
    ceil = quantize_operand(X, EVERYTHING[2].replace(power="ceil"), pow2.layout)
    assert np.all(ceil.scales[0] >= pow2.scales[0])
    assert np.any(ceil.scales[0] > pow2.scales[0])


def test_random_rounding_starts_again_with_each_tensor() -> None:
    spec = EVERYTHING[3].replace(range="minmax", percentile=None)
    one, two = (quantize_operand(X, spec, ROWS).codes for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, quantize(X, "int8", ROWS, rounding=LfsrStochastic(8, 5)).codes)
    free = spec.replace(random_bits=None)
    np.testing.assert_array_equal(
        quantize_operand(X, free, ROWS).codes, quantize(X, "int8", ROWS, rounding=Stochastic(5)).codes
    )


def test_a_moving_average_sees_the_first_axis_one_by_one() -> None:
    x = np.array([[1.0, -1.0], [3.0, -2.0], [8.0, -1.0]], np.float32)
    spec = OperandSpec(range="moving_average", momentum=0.5)
    q = quantize_operand(x, spec, parse_layout("1", "mk"))
    # 1, then (1 + 3) / 2 = 2, then (2 + 8) / 2 = 5
    assert q.scales[0].item() == np.float32(5) / np.float32(127)


@pytest.mark.parametrize("bits", [2, 8, 16, 24])
def test_fixed_point_scales_are_a_multiplier_and_a_shift(bits: int) -> None:
    form = parse_format(f"fixed{bits}")
    values = np.exp(RNG.uniform(-20, 20, 500)).astype(np.float32)
    rounded = form.round(values)  # type: ignore[union-attr]
    for got, value in zip(rounded.tolist(), values.tolist(), strict=True):
        exact = Fraction(value)
        shift = bits - 1 - (exact.numerator.bit_length() - exact.denominator.bit_length())
        while exact * Fraction(2) ** shift >= 1 << bits:
            shift -= 1
        while exact * Fraction(2) ** shift < 1 << (bits - 1):
            shift += 1
        multiplier = reference.rounded(exact * Fraction(2) ** shift, "HALF_EVEN")
        assert Fraction(got) == multiplier / Fraction(2) ** shift
    assert form.bits == bits + 8


def test_power_of_two_codes_take_scale_formats_and_ranges() -> None:
    spec = OperandSpec(code="pow2", format="int4", layout="m:1", scale_format="bf16", range="mse", exponent="geometric")
    q = quantize_operand(X, spec, ROWS)
    assert q.level_bits == (16,)
    expected = quantize_pow2(X, 4, ROWS, geometric=True, search=True, scale_format=parse_format("bf16"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(q.codes, expected.codes)
    plain = spec.replace(range="minmax")
    assert square_error(X, q) < square_error(X, quantize_operand(X, plain, ROWS))


# ---- codebooks by error ----


def heavy(rows: int = 24, columns: int = 80) -> Any:
    """Rows of which some have one value far from all others."""
    x = RNG.standard_normal((rows, columns)).astype(np.float32)
    x[::3, 5] *= 30
    return x


@pytest.mark.parametrize("centroids", ["int8", "real"])
def test_codebooks_by_error_are_never_worse(centroids: Any) -> None:
    for x in (X, heavy()):
        plain = quantize_codebook(x, 16, ROWS, centroids=centroids)
        best = quantize_codebook_best(x, 16, ROWS, centroids=centroids)
        assert square_error(x, best) <= square_error(x, plain)
    assert square_error(x, best) < square_error(x, plain) / 1.5


def test_codebooks_by_error_are_codes_of_their_own_table_and_scales() -> None:
    x = heavy()
    q = quantize_codebook_best(x, 16, ROWS, scale_format=parse_format("bf16"))  # type: ignore[arg-type]
    assert q.table is not None
    assert q.table.dtype == np.int8
    assert np.all(np.diff(q.table.astype(int)) >= 0)
    scale = q.scales[0]
    np.testing.assert_array_equal(scale, parse_format("bf16").round(scale))  # type: ignore[union-attr]
    wide = scale.astype(np.float64) * q.table.astype(np.float64)
    distance = np.abs(x[..., None] - wide[:, None, :])
    taken = np.take_along_axis(distance, q.codes.astype(np.int64)[..., None], -1)[..., 0]
    assert np.all(taken <= distance.min(axis=-1) * (1 + 1e-5))


def test_codebooks_by_error_keep_blocks_of_zeros() -> None:
    x = heavy()
    x[4] = 0
    q = quantize_codebook_best(x, 16, ROWS)
    assert np.abs(q.dequantize()[4]).max() <= np.abs(q.table).min() * q.scales[0][4]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^range mse must have a layout of one real level, not m:1@pow2$"):
        quantize_codebook_best(x, 16, parse_layout("m:1@pow2", "mk"))


def test_a_spec_of_a_codebook_chooses_by_its_range() -> None:
    x = heavy()
    spec = OperandSpec(code="codebook", format="u4", layout="m:1")
    np.testing.assert_array_equal(quantize_operand(x, spec, ROWS).codes, quantize_codebook(x, 16, ROWS).codes)
    best = quantize_operand(x, spec.replace(range="mse"), ROWS)
    np.testing.assert_array_equal(best.codes, quantize_codebook_best(x, 16, ROWS).codes)
    few = quantize_operand(x, spec.replace(entries=5, centroids="real"), ROWS)
    assert few.table is not None
    assert (few.table.size, few.table.dtype) == (5, np.dtype(np.float32))
