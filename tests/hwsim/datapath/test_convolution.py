from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import Accumulator, conv2d
from hwsim.datapath import convolution as module
from quant import Overflow
from tests import reference


def expected(
    x: np.ndarray[Any, Any], w: np.ndarray[Any, Any], strides: tuple[int, int], pads: tuple[int, int, int, int],
    dilations: tuple[int, int], groups: int, x_zero: int, w_zero: int, bits: int, overflow: str, bias: list[int],
) -> list[Any]:  # fmt: skip
    """Convolve by the definition, in Python ints."""
    n, _, h, width = x.shape
    m, cg, kh, kw = w.shape
    oh = (h + pads[0] + pads[2] - dilations[0] * (kh - 1) - 1) // strides[0] + 1
    ow = (width + pads[1] + pads[3] - dilations[1] * (kw - 1) - 1) // strides[1] + 1

    def pixel(i: int, j: int, r: int, s: int) -> int:
        lhs, rhs = [], []
        for c in range(cg):
            for a in range(kh):
                for b in range(kw):
                    y, z = r * strides[0] + a * dilations[0] - pads[0], s * strides[1] + b * dilations[1] - pads[1]
                    inside = 0 <= y < h and 0 <= z < width
                    lhs.append(int(x[i, j // (m // groups) * cg + c, y, z]) - x_zero if inside else 0)
                    rhs.append(int(w[j, c, a, b]) - w_zero)
        return reference.accumulate(lhs, rhs, bits, overflow, initial=bias[j]).register

    return [[[[pixel(i, j, r, s) for s in range(ow)] for r in range(oh)] for j in range(m)] for i in range(n)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.integers(3, 7), st.integers(3, 8)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.integers(1, 3),
    zeros=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    saturate=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_convolution_matches_its_definition(
    sizes: tuple[int, ...], kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int],
    dilations: tuple[int, int], groups: int, zeros: tuple[int, int], saturate: bool, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    n, channels, kernels, height, width = sizes
    height, width = max(height, dilations[0] * 2 + 1), max(width, dilations[1] * 2 + 1)
    x = rng.integers(-128, 128, (n, channels * groups, height, width)).astype(np.int8)
    w = rng.integers(-128, 128, (kernels * groups, channels, *kernel)).astype(np.int8)
    bias = rng.integers(-1000, 1000, kernels * groups)
    accumulator = Accumulator(17, Overflow.SATURATE) if saturate else Accumulator()
    want = expected(
        x, w, strides, pads, dilations, groups, *zeros, accumulator.bits, accumulator.overflow.name, bias.tolist()
    )
    got = conv2d(
        x, w, accumulator, strides=strides, pads=pads, dilations=dilations, groups=groups,
        x_zero=zeros[0], weight_zero=zeros[1], initial=bias,
    )  # fmt: skip
    assert got.tolist() == want


def test_bands_of_rows_have_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    x, w = rng.integers(-128, 128, (2, 3, 17, 13)).astype(np.int8), rng.integers(-8, 8, (5, 3, 3, 3)).astype(np.int8)
    whole = conv2d(x, w, strides=(2, 1), pads=(1, 1, 1, 1))
    monkeypatch.setattr(module, "_PATCH_ELEMENTS", 3 * 9 * 13 * 2)
    np.testing.assert_array_equal(conv2d(x, w, strides=(2, 1), pads=(1, 1, 1, 1)), whole)


def test_a_depthwise_convolution_is_as_many_convolutions_of_one_channel() -> None:
    rng = np.random.default_rng(7)
    x, w = (
        rng.integers(-128, 128, (1, 11, 7, 5)).astype(np.int8),
        rng.integers(-128, 128, (11, 1, 3, 3)).astype(np.int8),
    )
    got = conv2d(x, w, groups=11, x_zero=3, weight_zero=np.arange(11), pads=(1, 0, 1, 0))
    for c in range(11):
        want = conv2d(x[:, c : c + 1], w[c : c + 1], x_zero=3, weight_zero=c, pads=(1, 0, 1, 0))
        np.testing.assert_array_equal(got[:, c : c + 1], want)


@pytest.mark.parametrize("accumulator", [Accumulator(), Accumulator(10, Overflow.SATURATE)], ids=str)
def test_the_patch_matrix_is_never_whole_in_memory(accumulator: Accumulator) -> None:
    x, w = np.ones((1, 64, 224, 224), np.int8), np.ones((8, 64, 3, 3), np.int8)
    x[0, 0, 0, 0] = 100
    tracemalloc.start()
    out = conv2d(x, w, accumulator, pads=(1, 1, 1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < out.nbytes + 64 * 2**20
    assert out[0, 0, 5, 5] == min(576, accumulator.range[1])
    assert out[0, 0, 0, 0] == 256 + 99


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": np.zeros((3, 4, 4), np.int8)}, "x must have 4 axes, not shape (3, 4, 4)"),
        ({"groups": 2}, "channels must split into 2 groups, not (1, 3, 4, 4) and (2, 3, 3, 3)"),
        (
            {"strides": (0, 1)},
            "strides and dilations must be at least 1 and pads at least 0, not ((0, 1), (0, 0, 0, 0), (1, 1))",
        ),
        (
            {"dilations": (2, 1)},
            "kernel must fit the padded image, not (2, 3, 3, 3) in (1, 3, 4, 4) with pads (0, 0, 0, 0)",
        ),
        ({"initial": [1, 2, 3]}, "initial must be a scalar or have one value for each of 2 kernels, not shape (3,)"),
    ],
)
def test_bad_geometry_gets_one_clear_error(change: dict[str, Any], text: str) -> None:
    call: dict[str, Any] = {"x": np.zeros((1, 3, 4, 4), np.int8), "weight": np.zeros((2, 3, 3, 3), np.int8)} | change
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        conv2d(**call)


@pytest.mark.parametrize(
    "accumulator",
    [
        Accumulator(),
        Accumulator(16, Overflow.WRAP),
        Accumulator(15, Overflow.SATURATE),
        Accumulator(15, Overflow.SATURATE, dot_depth=2),
        Accumulator(31, Overflow.SATURATE),
        Accumulator(30, Overflow.SATURATE, final_bits=12, final_shift=3),
        Accumulator(13, Overflow.SATURATE, dropped_bits=3),
    ],
    ids=str,
)
@pytest.mark.parametrize("initial", [0, -9000])
def test_a_kernel_a_channel_is_its_own_product(accumulator: Accumulator, initial: int) -> None:
    rng = np.random.default_rng(5)
    x, weight = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((1, 6, 7, 9), (6, 1, 3, 3)))
    initial >>= accumulator.dropped_bits
    got = conv2d(x, weight, accumulator, groups=6, initial=initial)
    overflows = 0
    for channel, row, column in np.ndindex(6, 5, 7):
        pixels, taps = x[0, channel, row : row + 3, column : column + 3], weight[channel, 0]
        found = reference.accumulate(
            pixels.reshape(-1).tolist(),
            taps.reshape(-1).tolist(),
            accumulator.bits,
            accumulator.overflow.name,
            depth=accumulator.dot_depth,
            initial=initial,
            dropped=accumulator.dropped_bits,
        )
        value = found.register
        if accumulator.final_bits is not None:
            shifted = reference.rounding_shift(value, accumulator.final_shift, accumulator.final_rounding.name)
            value = reference.fit(shifted, accumulator.final_bits, "SATURATE")
        assert int(got[0, channel, row, column]) == value
        overflows += found.overflows
    assert (overflows > 0) == (accumulator.bits < 17)
