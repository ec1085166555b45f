from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from quant import extremes
from quant.cluster_kernels import iterate
from quant.product import ProductQuantizer, ProductTables

Array = np.ndarray[Any, Any]


def operands(m: int = 300, k: int = 12, n: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(m, 3)) @ rng.normal(size=(3, k)) + 0.3 * rng.normal(size=(m, k))
    return rows.astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)


def test_codes_name_the_nearest_prototype_of_each_piece() -> None:
    rows, _ = operands()
    pq = ProductQuantizer.fit(rows, 3, 5)
    codes = pq.encode(rows)
    assert pq.prototypes.shape == (3, 5, 4)
    for i, c in itertools.product(range(0, 300, 17), range(3)):
        piece = rows[i, 4 * c : 4 * c + 4].astype(np.float64)
        distances = [float(((piece - p) ** 2).sum()) for p in pq.prototypes[c].astype(np.float64)]
        assert codes[i, c] == distances.index(min(distances))
        np.testing.assert_array_equal(pq.decode(codes)[i, 4 * c : 4 * c + 4], pq.prototypes[c, codes[i, c]])


def test_as_many_prototypes_as_pieces_lose_nothing() -> None:
    rows = operands()[0][:6]
    pq = ProductQuantizer.fit(rows, 4, 6)
    np.testing.assert_array_equal(pq.decode(pq.encode(rows)), rows)


def test_look_ups_equal_the_product_of_the_decoded_rows() -> None:
    rows, weight = operands()
    pq = ProductQuantizer.fit(rows, 4, 8)
    codes = pq.encode(rows)
    products = pq.products(weight)
    summed = products[np.arange(4), codes].sum(axis=1)
    np.testing.assert_allclose(summed, pq.decode(codes).astype(np.float64) @ weight, rtol=1e-12, atol=1e-12)


def test_integer_tables_add_exactly_and_dequantize_after_the_sum() -> None:
    rows, weight = operands()
    pq = ProductQuantizer.fit(rows, 4, 8)
    codes, tables = pq.encode(rows), pq.tables(weight)
    sums = tables.aggregate(codes)
    for i, j in itertools.product(range(0, 300, 29), range(5)):
        assert sums[i, j] == sum(int(tables.entries[c, codes[i, c], j]) for c in range(4))
    products = pq.products(weight).astype(np.float32)
    np.testing.assert_array_equal(tables.scale, np.abs(products).max(axis=(0, 1)) / np.float32(127))
    bound = 4 * (0.5 + 1e-4) * tables.scale
    assert np.all(np.abs(sums * tables.scale - pq.decode(codes) @ weight) <= bound)


def test_accumulators_are_as_wide_as_the_worst_sum_needs() -> None:
    for subspaces in (1, 2, 4, 64, 258):
        tables = ProductTables(np.full((subspaces, 2, 1), 127, np.int8), np.ones(1, np.float32))
        worst = int(tables.aggregate(np.zeros((1, subspaces), np.int32))[0, 0])
        assert worst == 127 * subspaces
        bits = tables.accumulator_bits
        assert 2 ** (bits - 2) <= worst < 2 ** (bits - 1)


def test_error_falls_with_prototypes_and_with_subspaces() -> None:
    rows, _ = operands(1000)

    def error(subspaces: int, prototypes: int) -> float:
        pq = ProductQuantizer.fit(rows, subspaces, prototypes)
        return float(np.square(pq.decode(pq.encode(rows)) - rows).sum())

    by_prototypes = [error(3, p) for p in (2, 4, 16, 64)]
    assert by_prototypes == sorted(by_prototypes, reverse=True)
    by_subspaces = [error(c, 8) for c in (1, 3, 6, 12)]
    assert by_subspaces == sorted(by_subspaces, reverse=True)


def test_clusters_are_about_as_good_as_those_of_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    rows, _ = operands(1000)
    pq = ProductQuantizer.fit(rows, 1, 16, seed=1)
    ours = np.square(pq.decode(pq.encode(rows)).astype(np.float64) - rows).sum()
    peer = cluster.KMeans(16, n_init=1, random_state=0).fit(rows.astype(np.float64))
    assert ours <= 1.05 * peer.inertia_


def test_seeds_repeat_and_few_values_suffice() -> None:
    rows, _ = operands()
    same = [ProductQuantizer.fit(rows, 3, 5, seed=4).prototypes for _ in range(2)]
    np.testing.assert_array_equal(same[0], same[1])
    flat = ProductQuantizer.fit(np.ones((9, 4)), 2, 3)
    np.testing.assert_array_equal(flat.decode(flat.encode(np.ones((2, 4)))), 1)


def test_bits_and_operations_of_a_row() -> None:
    pq = ProductQuantizer(np.zeros((4, 6, 3), np.float32))
    assert (pq.code_bits, pq.encode_macs, pq.shape) == (4 * 3, 4 * 6 * 3, (4, 6, 3))


# fmt: off
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ProductQuantizer.fit(np.ones((5, 6)), 4, 2),
         "subspaces must divide the columns of [samples, k], not 4 with (5, 6)"),
        (lambda: ProductQuantizer.fit(np.ones((5, 6)), 3, 6), "prototypes must be in 2..5 for 5 samples, not 6"),
        (lambda: ProductQuantizer.fit(np.full((5, 6), np.nan), 3, 2), "x must be finite in float32, not NaN"),
        (lambda: ProductQuantizer(np.zeros((2, 3, 2), np.float32)).encode(np.ones((5, 6))),
         "rows must be [m, 4], not (5, 6)"),
        (lambda: ProductQuantizer(np.zeros((2, 3, 2), np.float32)).tables(np.ones((5, 6))),
         "weight must be [4, n], not (5, 6)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()
# fmt: on


def test_ties_take_the_first_prototype() -> None:
    rng = np.random.default_rng(7)
    rows = rng.integers(-2, 3, (400, 6)).astype(np.float32)
    pq = ProductQuantizer(rng.integers(-2, 3, (3, 11, 2)).astype(np.float32))
    codes = pq.encode(rows)
    ties = 0
    for i, c in itertools.product(range(400), range(3)):
        piece = [int(v) for v in rows[i, 2 * c : 2 * c + 2]]
        distances = [sum((a - int(b)) ** 2 for a, b in zip(piece, p, strict=True)) for p in pq.prototypes[c]]
        assert codes[i, c] == distances.index(min(distances))
        ties += distances.count(min(distances)) > 1
    assert ties > 100


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e7])
def test_far_from_zero_the_nearest_is_found_by_differences(offset: float) -> None:
    rng = np.random.default_rng(7)
    prototypes = (offset + 9 * rng.normal(size=(2, 200, 3))).astype(np.float32)
    rows = (offset + 9 * rng.normal(size=(60, 6))).astype(np.float32)
    codes = ProductQuantizer(prototypes).encode(rows)
    for i, c in itertools.product(range(60), range(2)):
        piece = [Fraction(float(v)) for v in rows[i, 3 * c : 3 * c + 3]]
        distances = [sum((a - Fraction(float(b))) ** 2 for a, b in zip(piece, p, strict=True)) for p in prototypes[c]]
        assert codes[i, c] == distances.index(min(distances))


@pytest.mark.parametrize(("subspaces", "width", "count"), [(1, 1, 2), (3, 3, 5), (2, 8, 16), (2, 9, 7), (1, 17, 33)])
@pytest.mark.parametrize("ties", [False, True])
def test_compiled_clusters_have_the_bits_of_numpys(
    subspaces: int, width: int, count: int, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    shape = (300, subspaces * width)
    rows = rng.integers(-2, 3, shape) if ties else rng.normal(size=shape)  # a grid has many equal distances
    for steps in (1, 2, 50):
        monkeypatch.setattr(extremes, "SOME", 1 << 40)
        expected = ProductQuantizer.fit(rows, subspaces, count, steps=steps).prototypes
        monkeypatch.setattr(extremes, "SOME", 0)
        np.testing.assert_array_equal(ProductQuantizer.fit(rows, subspaces, count, steps=steps).prototypes, expected)


def test_one_step_of_lloyd_is_exact_arithmetic() -> None:
    """Nearest centers by integers, the first of equals; means of integers."""
    rng = np.random.default_rng(7)
    x = rng.integers(-8, 9, (200, 3)).astype(np.float64)
    centers = x[:6].copy()
    wanted = centers.copy()
    nearest = []
    for row in x.tolist():
        distances = [sum((int(a) - int(b)) ** 2 for a, b in zip(row, center, strict=True)) for center in x[:6].tolist()]
        nearest.append(distances.index(min(distances)))
    for c in range(6):
        mine = [row for row, at in zip(x, nearest, strict=True) if at == c]
        wanted[c] = np.sum(mine, axis=0) / len(mine)
    iterate(x, centers, 1)
    np.testing.assert_array_equal(centers, wanted)
