from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from quant import extremes, kernels
from quant.affine import quantize
from quant.blocks import Shape, as_matrix, block_extrema, block_rows
from quant.formats import IntFormat, Rounding
from quant.kernels import count_matrix, matrix_extrema, quantize_matrix

BLOCKS = [(150, 70), (1, 70), (150, 1), (1, 1), (64, 1), (65, 3), (3, 33), (128, 32), (100, 69), (7, 16), (2, 15)]


def matrix(seed: int = 7) -> np.ndarray[Any, Any]:
    """Rows enough for several strips, in no multiple of any block."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(150, 70)) * np.exp2(rng.integers(-30, 30, (150, 1)))).astype(np.float32)


@pytest.mark.parametrize("block", BLOCKS)
def test_compiled_bounds_equal_those_of_numpy(block: tuple[int, int]) -> None:
    for x in (matrix(), np.abs(matrix()), -np.abs(matrix()), 0 * matrix(), -0.0 * np.abs(matrix())):
        lo, hi = block_extrema(x, block)
        got_lo, got_hi = matrix_extrema(x, block)
        np.testing.assert_array_equal(got_lo, lo)
        np.testing.assert_array_equal(got_hi, hi)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_compiled_bounds_show_what_is_not_finite(bad: float) -> None:
    x = matrix()
    x[77, 33] = bad
    lo, hi = matrix_extrema(x, (1, 70))
    np.testing.assert_array_equal(np.flatnonzero(~(np.isfinite(lo) & np.isfinite(hi))), [77])


@pytest.mark.parametrize(("bad", "text"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("layout", ["per_tensor", "m:1", "k:1", "m:1,k:7"])
def test_what_is_not_finite_is_refused(bad: float, text: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix()
    given = quantize(x, "int8", layout, axes="mk").scales
    x[77, 33] = bad
    for threshold in (0, 1 << 40):
        monkeypatch.setattr(extremes, "SOME", threshold)
        for scale in (None, given):
            with pytest.raises(ValueError, match=f"^x must be finite in float32, not {text}$"):
                quantize(x, "int8", layout, axes="mk", scale=scale)


@pytest.mark.parametrize("block", BLOCKS)
def test_compiled_codes_of_given_scales_count_what_is_outside(
    block: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, layout = matrix(), f"m:{block[0]},k:{block[1]}"
    scale = quantize(x, "int8", layout, axes="mk").scales[0] / np.float32(3)
    zero = np.arange(scale.size).reshape(scale.shape) % 200 - 100
    results = []
    for threshold in (0, 1 << 40):
        monkeypatch.setattr(extremes, "SOME", threshold)
        results.append(quantize(x, "int8", layout, axes="mk", scale=scale, zero_point=zero))
    np.testing.assert_array_equal(results[0].codes, results[1].codes)
    assert results[0].saturated == results[1].saturated > 0


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("name", "symmetric"), [("int8", True), ("int4", False), ("u8", False), ("int16", True)])
def test_compiled_codes_equal_those_of_numpy(
    block: tuple[int, int], name: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, layout = matrix(), f"m:{block[0]},k:{block[1]}"
    expected = quantize(x, name, layout, axes="mk", symmetric=symmetric)  # too small to be compiled
    monkeypatch.setattr(extremes, "SOME", 0)
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
    monkeypatch.setattr(extremes, "SOME", 0)
    np.testing.assert_array_equal(quantize(x, rounding=Rounding.DOWN).codes, down.codes)
    np.testing.assert_array_equal(quantize(x, "int32", scale=np.float32(1e-6)).codes, wide.codes)
    fortran = np.asfortranarray(x)
    np.testing.assert_array_equal(quantize(fortran, "int8", "a:1").codes, quantize(x, "int8", "a:1").codes)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_cut_without_a_seam(block: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, layout = matrix(), f"m:{block[0]},k:{block[1]}"
    expected = quantize(x, "int4", layout, axes="mk", symmetric=False)  # too small to be compiled
    monkeypatch.setattr(extremes, "SOME", 0)
    monkeypatch.setattr(kernels, "THREAD", 7 * 70)
    monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
    got = quantize(x, "int4", layout, axes="mk", symmetric=False)
    np.testing.assert_array_equal(got.codes, expected.codes)
    np.testing.assert_array_equal(got.scales[0], expected.scales[0])
    assert got.saturated == expected.saturated
    x[149, 69] = np.nan
    for scale in (None, got.scales):
        with pytest.raises(ValueError, match=r"^x must be finite in float32, not NaN$"):
            quantize(x, "int4", layout, axes="mk", scale=scale)


@pytest.mark.parametrize(
    ("shape", "block"),
    [
        ((6,), (6,)),
        ((6,), (4,)),
        ((5, 7), (2, 3)),
        ((3, 5, 7), (3, 5, 7)),
        ((3, 5, 7), (3, 5, 1)),
        ((3, 5, 7), (3, 2, 7)),
        ((3, 5, 7), (2, 5, 7)),
        ((3, 5, 7), (2, 5, 4)),
        ((2, 3, 5, 7), (1, 2, 5, 7)),
        ((1, 3, 1, 7), (1, 3, 1, 2)),
    ],
)
def test_an_array_viewed_as_a_matrix_keeps_its_blocks(shape: Shape, block: Shape) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    found = as_matrix(x, block)
    assert found is not None
    assert np.shares_memory(found[0], x)
    for mine, theirs in zip(block_extrema(*found), block_extrema(x, block), strict=True):
        np.testing.assert_array_equal(mine.ravel(), theirs.ravel())


def test_what_no_matrix_can_show_stays_an_array() -> None:
    x = np.zeros((3, 5, 7), np.float32)
    assert as_matrix(x, (3, 2, 4)) is None
    assert as_matrix(x, (1, 2, 1)) is None
    assert as_matrix(x.transpose(2, 1, 0), (7, 5, 3)) is None


@pytest.mark.parametrize("layout", ["b:1", "c:1", "b:1,c:1", "b:2,d:3", "c:2,d:3", "per_tensor"])
def test_compiled_codes_of_arrays_of_more_axes_equal_those_of_numpy(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = matrix().reshape(15, 10, 70)
    expected = quantize(x, "int8", layout, axes="bcd", symmetric=False)
    monkeypatch.setattr(extremes, "SOME", 0)
    got = quantize(x, "int8", layout, axes="bcd", symmetric=False)
    np.testing.assert_array_equal(got.codes, expected.codes)
    np.testing.assert_array_equal(got.scales[0], expected.scales[0])


@pytest.mark.parametrize(
    ("shape", "block"),
    [*(((150, 70), block) for block in BLOCKS), ((600, 5), (600, 1)), ((600, 5), (300, 2)), ((3, 2500), (1, 1200))],
)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_compiled_counts_are_those_of_numpys_histogram(
    shape: tuple[int, int], block: tuple[int, int], dtype: Any
) -> None:
    x = np.clip(np.random.default_rng(7).normal(size=shape), -3.9, 3.9).astype(np.float32)
    x[:2, :4] = [[0.0, -0.0, 3.999, -4.0]]
    lo, _ = block_extrema(x, block)
    scale = np.ldexp(np.float32(8), -2 - np.arange(lo.size).reshape(lo.shape) % 3).astype(np.float32)
    counts = np.zeros((*scale.shape, 16), dtype)
    count_matrix(x, *block, scale, counts)
    for where, blocks, rows in block_rows(x, block):
        want = [
            np.histogram(row.astype(np.float64), (np.arange(17) - 8) / float(s))[0]
            for row, s in zip(rows, scale[where].ravel(), strict=True)
        ]
        np.testing.assert_array_equal(counts[where], np.reshape(want, (*blocks, 16)))
