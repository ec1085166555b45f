"""The theorems behind the verdicts, by exhaustion, by an SMT solver and by rank; nothing here trusts the decision."""

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import z3

from quant.verify import decide

BITS = (0, 1)


def decodable(cases: Iterator[tuple[Any, Any]]) -> bool:
    """Tell whether the second item is a function of the first."""
    seen: dict[Any, Any] = {}
    return all(seen.setdefault(key, value) == value for key, value in cases)


def products(m: int, k: int, n: int, values: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    for flat in itertools.product(values, repeat=m * k + k * n):
        a = [flat[i * k : (i + 1) * k] for i in range(m)]
        w = [flat[m * k + i * n : m * k + (i + 1) * n] for i in range(k)]
        yield a, w


def accumulate(a: Any, w: Any) -> tuple[int, ...]:
    return tuple(sum(x * w[k][n] for k, x in enumerate(row)) for row in a for n in range(len(w[0])))


def real(a: Any, w: Any, sa: Any, sw: Any, za: Any = 0, zw: Any = 0) -> tuple[int, ...]:
    return tuple(
        sum((x - za) * (w[k][n] - zw) * sa[m][k] * sw[k][n] for k, x in enumerate(row))
        for m, row in enumerate(a)
        for n in range(len(w[0]))
    )


PATTERNS: dict[str, Callable[[int, int, int], tuple[Any, Any]]] = {
    "1 | 1": lambda m, k, n: ([[2] * k] * m, [[3] * n] * k),
    "m:1 | n:1": lambda m, k, n: ([[2 + i] * k for i in range(m)], [list(range(5, 5 + n))] * k),
    "k:1 | 1": lambda m, k, n: ([list(range(2, 2 + k))] * m, [[3] * n] * k),
    "1 | k:1,n:1": lambda m, k, n: ([[1] * k] * m, [[2 + i * n + j for j in range(n)] for i in range(k)]),
    "k:2 | n:1": lambda m, k, n: ([[2 + i // 2 for i in range(k)]] * m, [list(range(5, 5 + n))] * k),
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("shape", [(1, 2, 1), (1, 3, 1), (2, 2, 2), (1, 2, 2), (2, 3, 1)])
def test_a_decoder_of_all_accumulators_exists_exactly_when_the_verdict_is_once(
    pattern: str, shape: tuple[int, int, int]
) -> None:
    lhs, rhs = pattern.split(" | ")
    sa, sw = PATTERNS[pattern](*shape)
    found = decide("mk,kn->mn", lhs, rhs, sizes=dict(zip("mkn", shape, strict=True)))
    exists = decodable((accumulate(a, w), real(a, w, sa, sw)) for a, w in products(*shape, BITS))
    assert exists == (found.verdict == "once")


@pytest.mark.parametrize("z", list(itertools.product(range(-1, 3), repeat=2)))
def test_zero_points_neither_repair_nor_break(z: tuple[int, int]) -> None:
    """The decoder also sees both total sums; a single one is not enough for constant scales with z_W != 0."""
    shape, values = (1, 2, 1), (0, 1, 2)

    def cases(sa: Any, sums: bool) -> Iterator[tuple[Any, Any]]:
        for a, w in products(*shape, values):
            side = (sum(map(sum, a)), sum(map(sum, w))) if sums else ()
            yield (accumulate(a, w), side), real(a, w, sa, [[1]] * 2, *z)

    assert decodable(cases([[1, 1]], sums=True))
    assert not decodable(cases([[1, 2]], sums=True))
    assert decodable(cases([[1, 1]], sums=False)) == (z == (0, 0))


@pytest.mark.parametrize("length", [2, 3])
def test_with_known_weights_own_accumulators_decode_exactly_when_scales_agree_on_the_support(length: int) -> None:
    acts = range(-4, 5)
    for weights in itertools.product(range(-2, 3), repeat=length):
        for scales in itertools.product((1, 2, 3), repeat=length):
            support = {s for w, s in zip(weights, scales, strict=True) if w}
            exists = decodable(
                (
                    sum(x * w for x, w in zip(a, weights, strict=True)),
                    sum(x * w * s for x, w, s in zip(a, weights, scales, strict=True)),
                )
                for a in itertools.product(acts, repeat=length)
            )
            assert exists == (len(support) <= 1), (weights, scales)


def test_weights_verdict_agrees_with_exhaustion() -> None:
    for weights in itertools.product(range(-2, 3), repeat=3):
        codes = np.array(weights)[:, None]
        found = decide("mk,kn->mn", "k:1", "n:1", sizes={"m": 1, "k": 3, "n": 1}, rhs_codes=codes)
        assert (found.verdict == "once") == (sum(w != 0 for w in weights) <= 1)


def test_knowing_the_weights_does_not_help_all_accumulators() -> None:
    """With weights of ones and a moving 1 all accumulators agree, and the real results do not."""
    w = [[1, 1], [1, 1]]
    first, second = [[1, 0]], [[0, 1]]
    scales = [[2, 3]]
    assert accumulate(first, w) == accumulate(second, w)
    assert real(first, w, scales, w) != real(second, w, scales, w)


def _solve(layout: tuple[str, str]) -> bool:
    """Ask z3 for operands and scales of a 2 x 4 x 2 product: equal accumulators, different results."""
    m, k, n = 2, 4, 2
    blocks = [dict(part.split(":") for part in text.split(",") if ":" in part) for text in layout]
    solver = z3.Solver()
    scales: dict[Any, Any] = {}

    def scale(side: int, **where: int) -> Any:
        index = tuple(where[x] // int(blocks[side][x]) if x in blocks[side] else 0 for x in where)
        if (side, index) not in scales:
            scales[side, index] = z3.Int(f"s{side}_{'_'.join(map(str, index))}")
            solver.add(scales[side, index] >= 1, scales[side, index] <= 3)
        return scales[side, index]

    sets = []
    for name in "xy":
        a = [[z3.Int(f"{name}a{i}{j}") for j in range(k)] for i in range(m)]
        w = [[z3.Int(f"{name}w{i}{j}") for j in range(n)] for i in range(k)]
        solver.add(*(z3.And(v >= 0, v <= 1) for row in a + w for v in row))
        sets.append((a, w))
    differ = []
    for i, j in itertools.product(range(m), range(n)):
        sums, reals = [], []
        for a, w in sets:
            sums.append(z3.Sum([z3.If(z3.And(a[i][t] == 1, w[t][j] == 1), 1, 0) for t in range(k)]))
            reals.append(
                z3.Sum(
                    [
                        z3.If(z3.And(a[i][t] == 1, w[t][j] == 1), scale(0, m=i, k=t) * scale(1, k=t, n=j), 0)
                        for t in range(k)
                    ]
                )
            )
        solver.add(sums[0] == sums[1])
        differ.append(reals[0] != reals[1])
    solver.add(z3.Or(differ))
    return bool(solver.check() == z3.sat)


@pytest.mark.parametrize(
    "layout",
    [("1", "1"), ("m:1", "n:1"), ("m:1", "n:2"), ("k:1", "n:1"), ("m:1,k:2", "1"), ("1", "k:3,n:1"), ("k:4", "1")],
)
def test_an_smt_solver_finds_a_conflict_exactly_when_the_verdict_is_not_once(layout: tuple[str, str]) -> None:
    found = decide("mk,kn->mn", *layout, sizes={"m": 2, "k": 4, "n": 2})
    assert _solve(layout) == (found.verdict != "once")


def rank(rows: list[list[int]]) -> int:
    """Rank over the rationals by elimination."""
    matrix = [[Fraction(x) for x in row] for row in rows]
    found = 0
    for column in range(len(matrix[0])):
        pivot = next((i for i in range(found, len(matrix)) if matrix[i][column]), None)
        if pivot is None:
            continue
        matrix[found], matrix[pivot] = matrix[pivot], matrix[found]
        for i in range(len(matrix)):
            if i != found and matrix[i][column]:
                factor = matrix[i][column] / matrix[found][column]
                matrix[i] = [x - factor * y for x, y in zip(matrix[i], matrix[found], strict=True)]
        found += 1
    return found


@pytest.mark.parametrize("layout", ["1", "n:1", "k:1", "k:4", "k:4,n:1", "k:2,n:1", "k:3,n:1", "k:1,n:1"])
def test_extra_channels_are_the_rank_that_zero_points_add(layout: str) -> None:
    """K = 12, N = 3: the zero point functionals that the weight columns do not span, one channel each."""
    k, n = 12, 3
    rng = np.random.default_rng(7)
    weights = [rng.integers(-99, 100, k).tolist() for _ in range(n)]
    blocks = {a: int(b) for a, b in (part.split(":") for part in layout.split(",") if ":" in part)}
    numbers: dict[Any, int] = {}
    zeros = [
        [
            numbers.setdefault(
                (i // blocks["k"] if "k" in blocks else 0, j // blocks["n"] if "n" in blocks else 0),
                int(rng.integers(1, 100)),
            )
            for i in range(k)
        ]
        for j in range(n)
    ]
    found = decide("mk,kn->mn", sizes={"m": 5, "k": k, "n": n}, rhs_zero=layout)
    assert found.corrections[0].extra_channels == rank(weights + zeros) - rank(weights)


def test_group_scales_need_their_segments_and_no_fewer_sums() -> None:
    """(G - 1) N further dot products: the G segments of each of N channels, of which the whole sums are one."""
    k, n, groups = 12, 2, 3
    rng = np.random.default_rng(7)
    weights = [rng.integers(-99, 100, k).tolist() for _ in range(n)]
    parts = [[w if i * groups // k == g else 0 for i, w in enumerate(row)] for row in weights for g in range(groups)]
    found = decide("mk,kn->mn", rhs=f"n:1,k:{k // groups}", sizes={"m": 5, "k": k, "n": n})
    assert n * found.partial_sums == rank(weights + parts)
    assert rank(weights + parts) - rank(weights) == (groups - 1) * n


@pytest.mark.parametrize("table", [(0, 1, 3), (0, 1, 4, 9), (-3, 0, 1)])
def test_codes_that_are_not_affine_cannot_be_accumulated(table: tuple[int, ...]) -> None:
    codes = range(len(table))

    def cases(decoder: Any) -> Iterator[tuple[Any, Any]]:
        for x in itertools.product((0, 1), repeat=2):
            for c in itertools.product(codes, repeat=2):
                side = sum(x), sum(c)
                yield (
                    (sum(a * b for a, b in zip(x, c, strict=True)), side),
                    sum(a * decoder[b] for a, b in zip(x, c, strict=True)),
                )

    assert not decodable(cases(table))
    assert decodable(cases([5 + 3 * code for code in codes]))


@pytest.mark.parametrize("order", [(1, 3), (3, 1)])
@pytest.mark.parametrize("blocks", [(32, 48), (3, 5), (4, 6), (7, 7), (128, 64)])
@pytest.mark.parametrize("k", [5, 47, 96, 97, 512])
def test_boundaries_are_the_multiples_of_both_blocks(blocks: tuple[int, int], k: int, order: tuple[int, int]) -> None:
    a, b = blocks if order == (1, 3) else blocks[::-1]
    cuts = sorted({*range(a, k, a), *range(b, k, b)})
    found = decide("mk,kn->mn", f"k:{a}", f"k:{b}", sizes={"m": 2, "k": k, "n": 2})
    runs = [y - x for x, y in itertools.pairwise([0, *cuts, k])]
    assert found.segments.runs == len(runs) == math.ceil(k / a) + math.ceil(k / b) - math.ceil(k / math.lcm(a, b))
    assert found.segments.aligned == (math.gcd(*cuts) if cuts else k)
    assert (found.segments.min_run, found.segments.max_run) == (min(runs), max(runs))
    assert found.cuts() == tuple(cuts)
