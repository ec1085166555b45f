from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workloads
from quant import OperandSpec
from quant.affine import fake_quantize
from quant.errors import measure_errors
from quant.outliers import (
    DuplicateChannels,
    HadamardRotation,
    OutlierSplit,
    OutlierTransform,
    Smoothing,
    Transformed,
    channel_bounds,
    search_alpha,
    smooth,
    study_frame,
    study_transforms,
)
from quant.rewriting import walsh_hadamard

Array = np.ndarray[Any, Any]


def operands(m: int = 128, k: int = 256, n: int = 64, outliers: int = 3) -> tuple[Array, Array]:
    """Normal data with a few activation channels 60 times larger."""
    rng = np.random.default_rng(7)
    lhs = rng.normal(size=(m, k))
    lhs[:, rng.choice(k, outliers, replace=False)] *= 60
    return lhs.astype(np.float32), (0.05 * rng.normal(size=(k, n))).astype(np.float32)


def small(m: int = 3, k: int = 8, n: int = 5) -> tuple[Array, Array]:
    """Integers, so that products are exact."""
    rng = np.random.default_rng(7)
    return rng.integers(-64, 64, (m, k)).astype(np.float32), rng.integers(-64, 64, (k, n)).astype(np.float32)


def exact_product(lhs: Array, rhs: Array) -> list[list[Fraction]]:
    columns = rhs.T.tolist()
    return [
        [sum((Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True)), Fraction(0)) for column in columns]
        for row in lhs.tolist()
    ]


EXACT_TRANSFORMS = [
    Smoothing(np.array([1, 2, 4, 8, 0.5, 0.25, 1, 1], np.float32)),
    HadamardRotation(8, 4),
    HadamardRotation(8, 4, seed=3),
    HadamardRotation(8, 1),
    OutlierSplit(8, np.array([6, 1])),
    OutlierSplit(8, np.array([], np.int64)),
    DuplicateChannels(np.array([1, 2, 1, 4, 1, 1, 1, 8])),
]


@pytest.mark.parametrize("transform", EXACT_TRANSFORMS, ids=lambda t: type(t).__name__)
def test_the_real_product_is_kept_bit_for_bit(transform: OutlierTransform) -> None:
    lhs, rhs = small()
    moved = transform.apply(lhs, rhs)
    total = exact_product(moved.lhs, moved.rhs)
    if moved.real_lhs is not None and moved.real_rhs is not None:
        real = exact_product(moved.real_lhs, moved.real_rhs)
        total = [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(total, real, strict=True)]
    assert total == exact_product(lhs, rhs)
    np.testing.assert_array_equal(moved.product(), lhs.astype(np.float64) @ rhs.astype(np.float64))


@pytest.mark.parametrize(
    "transform",
    [
        Smoothing.fit(channel_bounds(operands()[0]), operands()[1], 0.3),
        HadamardRotation(256, 128),
        HadamardRotation(256, 256, seed=1),
        DuplicateChannels.fit(channel_bounds(operands()[0]), 21),
    ],
    ids=lambda t: type(t).__name__,
)
def test_the_real_product_is_kept_within_float32_rounding(transform: OutlierTransform) -> None:
    lhs, rhs = operands()
    errors = measure_errors(lhs.astype(np.float64) @ rhs.astype(np.float64), transform.apply(lhs, rhs).product())
    assert errors.relative_error < 1e-6


def test_activations_may_have_more_axes() -> None:
    lhs, rhs = small(6)
    for transform in EXACT_TRANSFORMS:
        folded = transform.apply(lhs.reshape(2, 3, 8), rhs).product()
        np.testing.assert_array_equal(folded.reshape(6, 5), lhs.astype(np.float64) @ rhs)


def test_smoothing_scales_follow_their_formula() -> None:
    lhs, rhs = operands()
    for alpha in (0.0, 0.25, 0.5, 1.0):
        expected = [
            max(abs(float(v)) for v in lhs[:, k]) ** alpha / max(abs(float(v)) for v in rhs[k]) ** (1 - alpha)
            for k in range(lhs.shape[1])
        ]
        np.testing.assert_allclose(smooth(channel_bounds(lhs), rhs, alpha), expected, rtol=1e-6)


def test_half_alpha_evens_out_both_sides() -> None:
    lhs, rhs = operands()
    moved = Smoothing.fit(channel_bounds(lhs), rhs, 0.5).apply(lhs, rhs)
    np.testing.assert_allclose(channel_bounds(moved.lhs), channel_bounds(moved.rhs, 0), rtol=1e-5)
    whole = Smoothing.fit(channel_bounds(lhs), rhs, 1.0).apply(lhs, rhs)
    np.testing.assert_allclose(channel_bounds(whole.lhs), 1, rtol=1e-6)


def test_unused_channels_keep_scale_one() -> None:
    np.testing.assert_array_equal(smooth([0.0, 4.0, 9.0], [[1.0], [0.0], [1.0]], 0.5), [1, 1, 3])


def test_power_of_two_scales_are_the_nearest_exponents() -> None:
    lhs, rhs = operands()
    scales = smooth(channel_bounds(lhs), rhs, 0.5)
    powers = Smoothing.fit(channel_bounds(lhs), rhs, 0.5, powers=True).scales
    np.testing.assert_array_equal(powers, 2.0 ** np.rint(np.log2(scales.astype(np.float64))))


def output_error(moved: Transformed, exact: Array, layout: str = "m:1") -> float:
    lhs = fake_quantize(moved.lhs, "int8", layout, axes="mk")
    rhs = fake_quantize(moved.rhs, "int8", "n:1", axes="kn")
    return float(measure_errors(exact, Transformed(lhs, rhs, moved.real_lhs, moved.real_rhs).product()).relative_error)


def test_every_repair_beats_none_and_the_split_is_best() -> None:
    lhs, rhs = operands()
    exact = lhs.astype(np.float64) @ rhs
    bounds = channel_bounds(lhs)
    plain = Transformed(lhs, rhs)
    token = output_error(plain, exact)
    assert token < output_error(plain, exact, "1")
    repaired = {
        type(t).__name__: output_error(t.apply(lhs, rhs), exact)
        for t in (
            Smoothing.fit(bounds, rhs, 0.5),
            HadamardRotation(256, 256),
            DuplicateChannels.fit(bounds, 48),
            OutlierSplit.fit(bounds, 20.0),
        )
    }
    assert max(repaired.values()) < 0.4 * token
    assert min(repaired, key=lambda name: repaired[name]) == "OutlierSplit"
    assert repaired["OutlierSplit"] < 0.5 * repaired["Smoothing"]


def test_alpha_search_finds_an_interior_minimum() -> None:
    lhs, rhs = operands()
    found = search_alpha(lhs, rhs, [0.0, 0.25, 0.5, 0.75, 1.0])
    assert found.best == 0.5
    exact = lhs.astype(np.float64) @ rhs
    for alpha, error in zip(found.alphas, found.errors, strict=True):
        moved = Smoothing.fit(channel_bounds(lhs), rhs, float(alpha)).apply(lhs, rhs)
        assert error == pytest.approx(output_error(moved, exact), rel=1e-9)
    assert search_alpha(lhs, rhs, [0.5], per_token=False).errors[0] > found.errors[2]


@given(stages=st.integers(0, 6), axis=st.integers(0, 1))
def test_walsh_hadamard_is_the_sylvester_matrix(stages: int, axis: int) -> None:
    matrix = np.ones((1, 1), np.int64)
    for _ in range(stages):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    shape = (3, 2**stages) if axis else (2**stages, 3)
    x = np.random.default_rng(7).integers(-9, 9, shape)
    np.testing.assert_array_equal(walsh_hadamard(x, axis), x @ matrix if axis else matrix @ x)


def test_rotation_spreads_one_outlier_over_its_block_only() -> None:
    lhs = np.zeros((1, 32), np.float32)
    lhs[0, 17] = 64
    moved = HadamardRotation(32, 16).apply(lhs, np.eye(32, dtype=np.float32))
    np.testing.assert_array_equal(np.abs(moved.lhs), [[0] * 16 + [16] * 16])


def test_outliers_are_those_that_reach_the_threshold() -> None:
    split = OutlierSplit.fit(np.array([5.9, 6.0, 0.0, 100.0]))
    assert split.channels.tolist() == [1, 3]
    moved = split.apply(np.float32([[1, 2, 3, 4]]), np.eye(4, dtype=np.float32))  # type: ignore[arg-type]
    assert moved.real_lhs is not None
    assert moved.real_rhs is not None
    np.testing.assert_array_equal(moved.lhs, [[1, 3]])
    np.testing.assert_array_equal(moved.real_lhs, [[2, 4]])
    np.testing.assert_array_equal(moved.real_rhs, np.eye(4)[[1, 3]])


def test_copies_go_where_the_largest_part_is() -> None:
    assert DuplicateChannels.fit([8.0, 1.0, 3.0], 4).copies.tolist() == [4, 1, 2]
    assert DuplicateChannels.fit([8.0, 1.0, 3.0], 0).copies.tolist() == [1, 1, 1]


def test_costs_are_counted() -> None:
    """M, K, N = 7, 8, 5; every number by hand."""
    smoothing = EXACT_TRANSFORMS[0]
    assert (smoothing.cost(7, 5).offline_multiplies, smoothing.cost(7, 5).multiplies) == (40, 0)
    assert Smoothing(np.ones(8, np.float32), folded=False).cost(7, 5).multiplies == 56
    rotation = HadamardRotation(8, 4).cost(7, 5)
    assert (rotation.offline_adds, rotation.adds) == (80, 112)
    assert HadamardRotation(8, 4, fused=True).cost(7, 5).adds == 0
    split = OutlierSplit(8, np.array([6, 1])).cost(7, 5)
    assert (split.integer_macs, split.float_macs, split.adds, split.weight_elements) == (-70, 70, 35, -10)
    copies = DuplicateChannels(np.array([1, 2, 1, 4, 1, 1, 1, 8])).cost(7, 5)
    assert (copies.integer_macs, copies.weight_elements) == (11 * 35, 55)
    lhs, rhs = small(7)
    for transform in EXACT_TRANSFORMS:
        moved = transform.apply(lhs, rhs)
        cost = transform.cost(7, 5)
        assert moved.rhs.size - rhs.size == cost.weight_elements
        assert moved.lhs.shape[-1] * 35 - 8 * 35 == cost.integer_macs
        assert (0 if moved.real_rhs is None else moved.real_rhs.size * 7) == cost.float_macs


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: smooth([1.0], [[1.0]], 1.5), "alpha must be in 0..1, not 1.5"),
        (
            lambda: smooth([1.0, 2.0], [[1.0]]),
            "lhs_bounds must be 1 magnitudes, one for each row of rhs, not of shape (2,)",
        ),
        (lambda: smooth([-1.0], [[1.0]]), "lhs_bounds must be magnitudes, not -1.0"),
        (lambda: Smoothing(np.zeros(2, np.float32)), "scales must be one row of positive finite numbers, not [0. 0.]"),
        (lambda: HadamardRotation(12, 8), "block must be a power of two that divides 12, not 8"),
        (lambda: HadamardRotation(12, 3), "block must be a power of two that divides 12, not 3"),
        (lambda: walsh_hadamard(np.ones(6)), "length must be a power of two, not 6"),
        (lambda: OutlierSplit(2, np.array([0, 1])), "channels must be distinct, fewer than 2 and in 0..1, not [0 1]"),
        (lambda: OutlierSplit(4, np.array([1, 1])), "channels must be distinct, fewer than 4 and in 0..3, not [1 1]"),
        (lambda: OutlierSplit(4, np.array([4])), "channels must be distinct, fewer than 4 and in 0..3, not [4]"),
        (lambda: DuplicateChannels(np.array([1, 0])), "copies must be a row of integers from 1, not [1 0]"),
        (lambda: DuplicateChannels.fit([1.0], -1), "extra must be at least 0, not -1"),
        (
            lambda: HadamardRotation(8, 8).apply(np.ones((2, 4)), np.ones((8, 2))),
            "operands must be [..., 8] and [8, n], not (2, 4) and (8, 2)",
        ),
        (lambda: HadamardRotation(2, 2).apply([[np.nan, 1]], np.ones((2, 2))), "x must be finite in float32, not NaN"),
        (lambda: channel_bounds([[np.inf]]), "x must be finite in float32, not infinite"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()


# ---- labels of any contraction ----


def labelled(text: str, sizes: dict[str, int]) -> tuple[Array, Array]:
    """Integers in the axes of both operands."""
    rng = np.random.default_rng(7)
    lhs, rhs = text.split("->", maxsplit=1)[0].split(",")
    shapes = (tuple(sizes[x] for x in axes) for axes in (lhs, rhs))
    first, second = (rng.integers(-64, 64, shape).astype(np.float32) for shape in shapes)
    return first, second


@pytest.mark.parametrize("text", ["mk,kn->mn", "mk,nk->mn", "km,kn->mn", "bhqk,bhkd->bhqd", "bhk,hkn->bn"])
@pytest.mark.parametrize("transform", EXACT_TRANSFORMS, ids=lambda t: type(t).__name__)
def test_transforms_follow_the_labels_of_a_contraction(text: str, transform: OutlierTransform) -> None:
    lhs, rhs = labelled(text, {"b": 2, "h": 3, "q": 5, "m": 5, "k": 8, "n": 7, "d": 7})
    moved = transform.apply(lhs, rhs, text)
    np.testing.assert_array_equal(moved.product(), np.einsum(text, lhs.astype(np.float64), rhs.astype(np.float64)))
    if text == "mk,kn->mn":
        plain = transform.apply(lhs, rhs)
        np.testing.assert_array_equal(moved.lhs, plain.lhs)
        np.testing.assert_array_equal(moved.rhs, plain.rhs)


def test_channels_may_lie_along_another_summed_axis() -> None:
    lhs, rhs = labelled("bhk,hkn->bn", {"b": 2, "h": 8, "k": 3, "n": 5})
    scales = np.array([1, 2, 4, 8, 0.5, 0.25, 1, 1], np.float32)
    moved = Smoothing(scales).apply(lhs, rhs, "bhk,hkn->bn", "h")
    np.testing.assert_array_equal(moved.lhs, lhs / scales[:, None])
    np.testing.assert_array_equal(moved.rhs, rhs * scales[:, None, None])
    text = "axis must be one of h, k, which bhk,hkn->bn sums over, not n"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Smoothing(scales).apply(lhs, rhs, "bhk,hkn->bn", "n")


# ---- real activations ----


def test_every_transform_on_real_activations_says_error_verdict_and_cost() -> None:
    """The first feed-forward layer of MiniLM, whose widest channel is 17 times the median one."""
    network = workloads.load("minilm-block")
    seen: dict[str, tuple[Array, Array]] = {}

    def contract(layer: Any, lhs: Any, rhs: Any, bias: Any) -> Any:
        seen[layer.name] = lhs, rhs
        return layer.contract(lhs, rhs, bias)

    network.run(network.evaluation, contract)
    lhs, rhs = seen["ffn_up"]
    bounds = channel_bounds(lhs)
    assert bounds.max() > 15 * np.median(bounds)
    rows = study_transforms(
        lhs,
        rhs,
        {
            "smooth": Smoothing.fit(bounds, rhs, 0.5),
            "hadamard": HadamardRotation(384, 128),
            "split": OutlierSplit.fit(bounds),
            "duplicate": DuplicateChannels.fit(bounds, 4),
        },
    )
    assert [row.verdict for row in rows] == ["once"] * 5
    gains = {row.transform: row.gain_db for row in rows}
    assert gains["none"] == 0
    assert min(gain for name, gain in gains.items() if name != "none") > 2
    assert gains["hadamard"] == max(gains.values())
    # once more by hand: int8 codes of each token and column, products in float64
    a_scale, w_scale = np.abs(lhs).max(axis=1, keepdims=True) / 127, np.abs(rhs).max(axis=0) / 127
    found = (np.rint(lhs / a_scale) * a_scale).astype(np.float64) @ (np.rint(rhs / w_scale) * w_scale)
    real = lhs.astype(np.float64) @ rhs
    by_hand = 10 * np.log10(np.square(real).sum() / np.square(found - real).sum())
    assert abs(rows[0].sqnr_db - by_hand) < 0.01
    frame = study_frame(rows)
    assert frame["float_macs"].tolist() == [0, 0, 0, 256 * 1536 * int((bounds >= 6).sum()), 0]
    assert frame["adds"].tolist()[2] == 256 * 384 * 7


def test_layouts_along_the_channels_are_incompatible_whatever_the_transform() -> None:
    lhs, rhs = small(5, 8, 7)
    spec = OperandSpec(layout="k:1")
    rows = study_transforms(lhs, rhs, {"hadamard": HadamardRotation(8, 8)}, lhs_spec=spec)
    assert [row.verdict for row in rows] == ["incompatible", "incompatible"]
