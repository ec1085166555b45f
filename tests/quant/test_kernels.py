from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quant import affine
from quant.affine import quantize
from quant.blocks import block_extrema
from quant.formats import IntFormat, Rounding
from quant.kernels import matrix_extrema, quantize_matrix

BLOCKS = [(150, 70), (1, 70), (150, 1), (1, 1), (64, 1), (65, 3), (3, 33), (128, 32), (100, 69)]


def matrix(seed: int = 7) -> np.ndarray[Any, Any]:
    """Rows enough for several strips, in no multiple of any block."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(150, 70)) * np.exp2(rng.integers(-30, 30, (150, 1)))).astype(np.float32)


@pytest.mark.parametrize("block", BLOCKS)
def test_compiled_extrema_equal_those_of_numpy(block: tuple[int, int]) -> None:
    for x in (matrix(), np.abs(matrix()), -np.abs(matrix())):
        for got, expected in zip(matrix_extrema(x, block), block_extrema(x, block), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_compiled_extrema_show_what_is_not_finite(bad: float) -> None:
    x = matrix()
    x[77, 33] = bad
    lo, hi = matrix_extrema(x, (1, 70))
    np.testing.assert_array_equal(np.flatnonzero(~(np.isfinite(lo) & np.isfinite(hi))), [77])


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("name", "symmetric"), [("int8", True), ("int4", False), ("u8", False), ("int16", True)])
def test_compiled_codes_equal_those_of_numpy(
    block: tuple[int, int], name: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, layout = matrix(), f"m:{block[0]},k:{block[1]}"
    expected = quantize(x, name, layout, axes="mk", symmetric=symmetric)
    monkeypatch.setattr(affine, "LARGE", 0)
    got = quantize(x, name, layout, axes="mk", symmetric=symmetric)
    np.testing.assert_array_equal(got.codes, expected.codes)
    np.testing.assert_array_equal(got.scales[0], expected.scales[0])
    assert got.saturated == expected.saturated
    assert got.codes.dtype == expected.codes.dtype


def test_compiled_codes_round_ties_to_even_and_saturate() -> None:
    x = (np.arange(-700, 700) / 4).astype(np.float32).reshape(20, 70)
    scale = np.full((20, 1), 0.5, np.float32)
    codes, outside = quantize_matrix(x, (1, 70), scale, None, IntFormat(8))
    quotient = np.arange(-700, 700) // 2  # exact halves of odd numerators fall between
    expected = np.clip(np.where(np.arange(-700, 700) % 2 == 0, quotient, quotient + quotient % 2), -128, 127)
    np.testing.assert_array_equal(codes.ravel(), expected)
    assert outside == sum(1 for i in range(-700, 700) if not -128.5 <= i / 2 < 127.5)


def test_other_roundings_and_wide_codes_keep_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix()
    down, wide = quantize(x, rounding=Rounding.DOWN), quantize(x, "int32", scale=np.float32(1e-6))
    monkeypatch.setattr(affine, "LARGE", 0)
    np.testing.assert_array_equal(quantize(x, rounding=Rounding.DOWN).codes, down.codes)
    np.testing.assert_array_equal(quantize(x, "int32", scale=np.float32(1e-6)).codes, wide.codes)
    fortran = np.asfortranarray(x)
    np.testing.assert_array_equal(quantize(fortran, "int8", "a:1").codes, quantize(x, "int8", "a:1").codes)
