"""Contractions against sums written out by hand."""

import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.contraction import Contraction, Gemm

EINSUMS = {
    "mk,kn->mn": {"m": 2, "k": 3, "n": 5},
    "km,kn->mn": {"m": 2, "k": 3, "n": 5},
    "mk,nk->mn": {"m": 2, "k": 3, "n": 5},
    "mk,kn->nm": {"m": 2, "k": 3, "n": 5},
    "bmk,bkn->bmn": {"b": 2, "m": 3, "k": 5, "n": 7},
    "bmk,kn->bmn": {"b": 2, "m": 3, "k": 5, "n": 7},
    "bhqd,bhkd->bhqk": {"b": 2, "h": 3, "q": 5, "k": 7, "d": 2},
    "bhqk,bhkd->bqhd": {"b": 2, "h": 3, "q": 5, "k": 7, "d": 2},
    "mij,jin->mn": {"m": 2, "i": 3, "j": 5, "n": 7},
    "mk,k->m": {"m": 2, "k": 3},
    "m,n->mn": {"m": 2, "n": 3},
}

NESTED = [(1, 0, 1), (2, 1, 1), (1, 1, 2), (2, 2, 2), (3, 0, 1)]


@pytest.mark.parametrize("text", EINSUMS)
def test_gemm_form_equals_einsum(text: str) -> None:
    sizes = EINSUMS[text]
    contraction = Contraction.parse(text)
    rng = np.random.default_rng(7)
    lhs = rng.integers(-9, 9, contraction.shape_of("lhs", sizes))
    rhs = rng.integers(-9, 9, contraction.shape_of("rhs", sizes))
    left, right = contraction.to_gemm(lhs, rhs)
    gemm = contraction.gemm(sizes)
    assert left.shape == (gemm.batch, gemm.m, gemm.k)
    assert right.shape == (gemm.batch, gemm.k, gemm.n)
    np.testing.assert_array_equal(contraction.from_gemm(left @ right, sizes), np.einsum(text, lhs, rhs))


def test_roles_of_attention_scores() -> None:
    contraction = Contraction.parse("bhqd,bhkd->bhqk")
    assert contraction.batch == ("b", "h")
    assert contraction.outer_lhs == ("q",)
    assert contraction.outer_rhs == ("k",)
    assert contraction.reduction == ("d",)


def convolve(x: Any, w: Any, stride: int, padding: int, dilation: int) -> Any:
    """Convolution as the sum of its definition, one term at a time."""
    batch, channels, height, width = x.shape
    outputs, _, taps, ways = w.shape
    high = (height + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    wide = (width + 2 * padding - dilation * (ways - 1) - 1) // stride + 1
    out = np.zeros((batch, outputs, high, wide), np.int64)
    for b, o, p, q, c, r, s in product(*map(range, (batch, outputs, high, wide, channels, taps, ways))):
        h, v = stride * p + dilation * r - padding, stride * q + dilation * s - padding
        if 0 <= h < height and 0 <= v < width:
            out[b, o, p, q] += x[b, c, h, v] * w[o, c, r, s]
    return out


@pytest.mark.parametrize(("stride", "padding", "dilation"), NESTED)
def test_convolution_equals_its_definition(stride: int, padding: int, dilation: int) -> None:
    rng = np.random.default_rng(7)
    x, w = rng.integers(-9, 9, (2, 3, 7, 8)), rng.integers(-9, 9, (5, 3, 3, 2))
    contraction = Contraction.parse(f"conv2d stride={stride} padding={padding} dilation={dilation}")
    left, right = contraction.to_gemm(x, w)
    sizes = contraction.sizes_of(x.shape, w.shape)
    np.testing.assert_array_equal(contraction.from_gemm(left @ right, sizes), convolve(x, w, stride, padding, dilation))


@pytest.mark.parametrize(("stride", "padding", "dilation"), NESTED)
def test_transposed_convolution_is_the_adjoint_of_convolution(stride: int, padding: int, dilation: int) -> None:
    rng = np.random.default_rng(7)
    y, w = rng.integers(-9, 9, (1, 5, 3, 4)), rng.integers(-9, 9, (5, 3, 3, 2))
    contraction = Contraction.parse(f"transposed2d stride={stride} padding={padding} dilation={dilation}")
    left, right = contraction.to_gemm(y, w)
    sizes = contraction.sizes_of(y.shape, w.shape)
    up = contraction.from_gemm(left @ right, sizes)
    x = rng.integers(-9, 9, up.shape)
    forward = convolve(x, w, stride, padding, dilation)
    assert forward.shape == y.shape
    assert int((up * x).sum()) == int((y * forward).sum())


def test_padded_terms_take_the_fill_value() -> None:
    contraction = Contraction.parse("conv1d padding=1")
    left, _ = contraction.to_gemm(np.array([[[1, 2]]]), np.array([[[1, 1, 1]]]), fill=9)
    np.testing.assert_array_equal(left[0], [[9, 1, 2], [1, 2, 9]])


def test_grouped_and_depthwise_have_batch_labels() -> None:
    assert Contraction.parse("grouped2d").batch == ("g",)
    assert Contraction.parse("depthwise2d").batch == ("c",)
    assert Contraction.parse("depthwise2d").reduction == ("r", "s")


@pytest.mark.parametrize(
    ("stride", "padding", "size", "expected"), [(2, 3, 224, 112), (1, 1, 56, 56), (2, 1, 56, 28), (2, 0, 7, 4)]
)
def test_output_size_of_resnet_layers(stride: int, padding: int, size: int, expected: int) -> None:
    taps = {3: 7, 1: 3, 0: 1}[padding]
    sizes = {"b": 1, "c": 3, "h": size, "w": size, "o": 8, "r": taps, "s": taps}
    full = Contraction.parse(f"conv2d stride={stride} padding={padding}").complete(sizes)
    assert full["p"] == expected


def test_gemm_of_a_resnet_layer() -> None:
    sizes = {"b": 1, "c": 64, "h": 56, "w": 56, "o": 64, "r": 3, "s": 3}
    gemm = Contraction.parse("conv2d padding=1").gemm(sizes)
    assert gemm == Gemm(1, 3136, 576, 64)
    assert gemm.macs == 115_605_504


@settings(deadline=None)
@given(
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 4),
    kind=st.sampled_from(["conv2d", "conv1d", "grouped2d", "depthwise2d", "transposed2d"]),
)
def test_text_of_a_contraction_parses_back(stride: int, dilation: int, padding: int, kind: str) -> None:
    contraction = Contraction.parse(f"{kind} stride={stride} dilation={dilation} padding={padding}")
    assert Contraction.parse(str(contraction)) == contraction


def test_backward_products_of_a_convolution_are_written_with_the_same_link() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.integers(-9, 9, (2, 3, 7, 7)), rng.integers(-9, 9, (5, 3, 3, 3))
    y = rng.integers(-9, 9, (2, 5, 4, 4))
    weights = Contraction.parse("bchw,bopq->ocrs; h=2p+r-1, w=2q+s-1")
    sizes = {"b": 2, "c": 3, "h": 7, "w": 7, "o": 5, "p": 4, "q": 4, "r": 3, "s": 3}
    left, right = weights.to_gemm(x, y, sizes)
    gradient = weights.from_gemm(left @ right, sizes)
    inputs = Contraction.parse("bopq,ocrs->bchw; h=2p+r-1, w=2q+s-1")
    left, right = inputs.to_gemm(y, w, sizes)
    back = inputs.from_gemm(left @ right, sizes)
    total = int((convolve(x, w, 2, 1, 1) * y).sum())
    assert int((gradient * w).sum()) == total
    assert int((back * x).sum()) == total


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mk", "contraction must look like 'mk,kn->mn' or 'conv2d stride=2 padding=1', not 'mk'"),
        ("mm,mn->n", "label must occur once in lhs, not 'm' in 'mm'"),
        ("mk,kn->mm", "label must occur once in output, not 'm' in 'mm'"),
        ("mkj,kn->mn", "label must occur in two or three of lhs, rhs and the output, not 'j' in lhs only"),
        ("mk,knj->mn", "label must occur in two or three of lhs, rhs and the output, not 'j' in rhs only"),
        ("mk,kn->mnz", "label must occur in two or three of lhs, rhs and the output, not 'z' in the output only"),
        ("bcw,ocs->boq; w", "link must look like h=2p+r-1, not 'w'"),
        (
            "bcw,ocs->boq; w=2z+s",
            "link must tie one label of lhs, one of rhs and one of the output, not 'w=2z+s' in bcw,ocs->boq",
        ),
        ("bcw,ocs->boq; w=0q+s", "coefficient must not be 0 in a link, not 'q' in w=0q+s"),
        (
            "conv2d strides=2",
            "conv2d must be followed by stride=, padding= or dilation= with a number, not 'strides=2'",
        ),
    ],
)
def test_bad_contractions_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Contraction.parse(text)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"m": 2, "k": 3}, "sizes must give every label of mk,kn->mn, not lack n"),
        ({"m": 2, "k": 3, "n": 0}, "size must be a positive integer, not n=0"),
        ({"m": 2, "k": 3, "n": 1.5}, "size must be a positive integer, not n=1.5"),
        ({"m": 2, "k": 3, "n": 1, "x": 1}, "size must belong to one of m, k, n, not 'x'"),
    ],
)
def test_bad_sizes_are_refused(sizes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Contraction.parse("mk,kn->mn").complete(sizes)


def test_operands_that_disagree_are_refused() -> None:
    message = "k must have one size in both operands, not lhs (2, 3), rhs (4, 5)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Contraction.parse("mk,kn->mn").sizes_of((2, 3), (4, 5))
    with pytest.raises(ValueError, match=r"^lhs must have axes mk, not shape \(2,\)$"):
        Contraction.parse("mk,kn->mn").sizes_of((2,), (4, 5))
    with pytest.raises(ValueError, match=r"^kernel must fit the padded input, not s=5 on w=3$"):
        Contraction.parse("conv1d").sizes_of((1, 1, 3), (1, 1, 5))
