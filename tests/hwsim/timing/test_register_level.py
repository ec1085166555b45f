"""The array against a twin of Python objects, exact products, and the closed form."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim import datapath
from hwsim.accelerator import Array
from hwsim.datapath import Accumulator
from hwsim.timing import closed_form, run_array
from quant import Scheme
from quant.formats import Overflow
from tests import reference
from tests.hwsim.machines import machine
from workloads import Layer

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
CONVENTIONS = [("bus", False), ("shift", False), ("bus", True)]
OVERLAPPING = ("bus", True, {"array__overlap_folds": True})
IN_PART = ("bus", False, {"array__partial_tiles": "part"})
SHIFTED_IN_PART = ("shift", False, {"array__partial_tiles": "part"})
Matrix = list[list[int]]
# what an element holds: which step of its sum, and the values
Word = tuple[int, tuple[int, ...]]
Fit = Callable[[int], int]


def array_of(rows: int, columns: int, dataflow: str, depth: int = 1, drain: str = "bus", hidden: bool = False) -> Array:
    return Array.from_fields(
        {
            "rows": rows,
            "columns": columns,
            "dot_depth": depth,
            "dataflow": dataflow,
            "drain": drain,
            "double_buffered": hidden,
        }
    )


# ---- the twin: elements that hand words to their neighbours ----


class Twin:
    """Plain Python of one array; time is a list of how many elements were busy in each cycle."""

    def __init__(self, rows: int, columns: int, depth: int, fit: Fit, bits: tuple[int, int, int]) -> None:
        self.rows, self.columns, self.depth, self.fit = rows, columns, depth, fit
        self.places = list(itertools.product(range(rows), range(columns)))
        self.busy: list[int] = []
        self.out: dict[tuple[int, int], int] = {}
        self.leave: dict[tuple[int, int], int] = {}
        self.toggles = {"lhs": 0, "rhs": 0, "sum": 0}
        self.masks = {name: (1 << width) - 1 for name, width in zip(self.toggles, bits, strict=True)}
        # registers keep what they hold from fold to fold
        self.lhs: dict[tuple[int, int], Word | None] = dict.fromkeys(self.places)
        self.rhs: dict[tuple[int, int], Word | None] = dict.fromkeys(self.places)
        self.sums, self.results = dict.fromkeys(self.places, 0), dict.fromkeys(self.places, 0)
        self.still: dict[tuple[int, int], tuple[int, ...]] = dict.fromkeys(self.places, (0,) * depth)

    def toggled(self, name: str, old: int, new: int) -> None:
        self.toggles[name] += ((old ^ new) & self.masks[name]).bit_count()

    def moved(self, name: str, old: Word | None, new: Word | None) -> None:
        zeros = (0,) * self.depth
        for a, b in zip(old[1] if old else zeros, new[1] if new else zeros, strict=True):
            self.toggled(name, a, b)

    def words(self, line: list[int]) -> list[Word]:
        """Cut a row along the reduction into steps, the last filled with zeros."""
        cut = [line[s : s + self.depth] for s in range(0, len(line), self.depth)]
        return [(s, tuple(w + [0] * (self.depth - len(w)))) for s, w in enumerate(cut)]

    def output_fold(self, lhs: Matrix, rhs: Matrix, top: int, left: int, used: tuple[int, int], shift: bool) -> None:
        """One tile of results: lhs rows from the left, rhs columns from above."""
        west = [self.words(row) for row in lhs]
        north = [self.words(list(column)) for column in zip(*rhs, strict=True)]
        steps, start, left_over = len(west[0]), len(self.busy), set(self.places)
        a, b, last_held = self.lhs, self.rhs, self.results
        on_the_way: dict[tuple[int, int], tuple[int, int]] = {}  # place: row of the result, value
        while left_over:
            t = len(self.busy) - start
            for (i, j), (row, value) in on_the_way.items():
                if i == 0:
                    self.out[top + row, left + j], self.leave[top + row, left + j] = value, len(self.busy)
                    left_over.discard((row, j))
            if shift:
                for i, j in self.places:
                    above_this = last_held[min(i + 1, self.rows - 1), j]
                    self.toggled("sum", last_held[i, j], above_this)
                last_held = {(i, j): last_held[min(i + 1, self.rows - 1), j] for i, j in self.places}
                on_the_way = {(i - 1, j): held for (i, j), held in on_the_way.items() if i}
            fed_a = {i: west[i][t - i] if 0 <= t - i < steps else None for i in range(self.rows)}
            fed_b = {j: north[j][t - j] if 0 <= t - j < steps else None for j in range(self.columns)}
            next_a = {(i, j): a[i, j - 1] if j else fed_a[i] for i, j in self.places}
            next_b = {(i, j): b[i - 1, j] if i else fed_b[j] for i, j in self.places}
            busy = 0
            for place in self.places:
                self.moved("lhs", a[place], next_a[place])
                self.moved("rhs", b[place], next_b[place])
                x, y = next_a[place], next_b[place]
                assert (x is None) == (y is None)
                if x is None or y is None:
                    continue
                assert x[0] == y[0], "operands of different steps meet"
                before = 0 if x[0] == 0 else self.sums[place]
                total = self.fit(before + sum(p * q for p, q in zip(x[1], y[1], strict=True)))
                self.toggled("sum", self.sums[place], total)
                self.sums[place] = total
                busy += place[0] < used[0] and place[1] < used[1]
                if x[0] == steps - 1:
                    if shift:
                        assert place not in on_the_way
                        self.toggled("sum", last_held[place], total)
                        on_the_way[place], last_held[place] = (place[0], total), total
                    else:
                        i, j = place
                        self.out[top + i, left + j], self.leave[top + i, left + j] = total, len(self.busy)
                        left_over.discard(place)
            a, b = next_a, next_b
            self.busy.append(busy)
        self.lhs, self.rhs, self.results = a, b, last_held

    def load(self, words: list[list[tuple[int, ...]]], into: dict[tuple[int, int], tuple[int, ...]]) -> None:
        """Push rows of words in from above, the lowest first; no cycles are counted here."""
        for row in reversed(words):
            after = {(i, j): into[i - 1, j] if i else row[j] for i, j in self.places}
            for place in self.places:
                self.moved("rhs", (0, into[place]), (0, after[place]))
            into.update(after)

    def stationary_fold(self, moving: Matrix, left: int, used: tuple[int, int]) -> None:
        """Rows of `moving` pass to the right, their sums down."""
        length, start = len(moving), len(self.busy)
        west = [self.words(row) for row in moving]
        a = self.lhs
        falling: dict[tuple[int, int], int | None] = dict.fromkeys(self.places)  # row that a sum belongs to
        missing = {(s, j) for s in range(length) for j in range(self.columns)}
        while missing:
            t = len(self.busy) - start
            fed = {i: (t - i, west[t - i][i][1]) if 0 <= t - i < length else None for i in range(self.rows)}
            next_a = {(i, j): a[i, j - 1] if j else fed[i] for i, j in self.places}
            next_falling = {
                (i, j): falling[i - 1, j] if i else (t - j if 0 <= t - j < length else None) for i, j in self.places
            }
            old, busy = dict(self.sums), 0
            for i, j in self.places:
                self.moved("lhs", a[i, j], next_a[i, j])
                x, row = next_a[i, j], next_falling[i, j]
                if x is None or row is None:
                    continue
                assert x[0] == row, "a sum meets operands of another row"
                before = old[i - 1, j] if i else self.out.get((row, left + j), 0)
                total = self.fit(before + sum(p * q for p, q in zip(x[1], self.still[i, j], strict=True)))
                self.toggled("sum", old[i, j], total)
                self.sums[i, j] = total
                busy += i < used[0] and j < used[1]
                if i == self.rows - 1:
                    self.out[row, left + j], self.leave[row, left + j] = total, len(self.busy)
                    missing.discard((row, j))
            a, falling = next_a, next_falling
            self.busy.append(busy)
        self.lhs = a


def pad(matrix: Matrix, rows: int, columns: int) -> Matrix:
    wide = [row + [0] * (-len(row) % columns) for row in matrix]
    return wide + [[0] * len(wide[0]) for _ in range(-len(wide) % rows)]


def twin_run(
    lhs: Matrix, rhs: Matrix, array: Array, fit: Fit, bits: tuple[int, int, int]
) -> tuple[Matrix, Matrix, list[int], dict[str, int]]:
    rows, columns, depth = array.rows, array.columns, array.dot_depth
    if array.dataflow == "input_stationary":
        turned = array.replace(dataflow="weight_stationary")
        flip = (bits[1], bits[0], bits[2])
        out, leave, busy, toggles = twin_run(
            [list(c) for c in zip(*rhs, strict=True)], [list(c) for c in zip(*lhs, strict=True)], turned, fit, flip
        )
        back = [[list(c) for c in zip(*x, strict=True)] for x in (out, leave)]
        return back[0], back[1], busy, {"lhs": toggles["rhs"], "rhs": toggles["lhs"], "sum": toggles["sum"]}
    m, n = len(lhs), len(rhs[0])
    twin = Twin(rows, columns, depth, fit, bits)
    if array.dataflow == "output_stationary":
        a, b = pad(lhs, rows, 1), pad(rhs, 1, columns)
        for top, left in itertools.product(range(0, len(a), rows), range(0, len(b[0]), columns)):
            part = [row[left : left + columns] for row in b]
            twin.output_fold(a[top : top + rows], part, top, left, (m - top, n - left), array.drain == "shift")
    else:
        a, b = pad(lhs, 1, rows * depth), pad(rhs, rows * depth, columns)
        folds = list(itertools.product(range(0, n, columns), range(0, len(b), rows * depth)))
        useful = math.ceil(len(rhs) / depth)

        def words(left: int, top: int) -> list[list[tuple[int, ...]]]:
            return [
                [tuple(b[top + i * depth + p][left + j] for p in range(depth)) for j in range(columns)]
                for i in range(rows)
            ]

        second = dict(twin.still)
        for index, (left, top) in enumerate(folds):
            if index == 0 or not array.double_buffered:
                twin.load(words(left, top), twin.still)
                twin.busy += [0] * rows
            before = len(twin.busy)
            twin.stationary_fold([row[top : top + rows * depth] for row in a], left, (useful - top // depth, n - left))
            if array.double_buffered and index + 1 < len(folds):
                twin.load(words(*folds[index + 1]), second)
                assert len(twin.busy) - before >= rows, "the load is hidden"
                for place in twin.places:
                    twin.moved("rhs", (0, twin.still[place]), (0, second[place]))
                twin.still = dict(second)
    grid = [[(i, j) for j in range(n)] for i in range(m)]
    return (
        [[twin.out[place] for place in row] for row in grid],
        [[twin.leave[place] for place in row] for row in grid],
        twin.busy,
        twin.toggles,
    )


def random_pair(m: int, k: int, n: int, low: int = -128, high: int = 127) -> tuple[Any, Any]:
    rng = np.random.default_rng([m, k, n])
    return rng.integers(low, high + 1, (m, k)), rng.integers(low, high + 1, (k, n))


@settings(deadline=None, max_examples=100)
@given(
    sizes=st.tuples(*[st.integers(1, 7)] * 3),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dataflow=st.sampled_from(DATAFLOWS),
    depth=st.sampled_from([1, 2, 3]),
    convention=st.sampled_from(CONVENTIONS),
    register=st.sampled_from([(32, "WRAP"), (16, "WRAP"), (16, "SATURATE")]),
    data=st.data(),
)
def test_every_register_equals_the_twin(
    sizes: tuple[int, int, int],
    shape: tuple[int, int],
    dataflow: str,
    depth: int,
    convention: tuple[str, bool],
    register: tuple[int, str],
    data: st.DataObject,
) -> None:
    m, k, n = sizes
    value = st.sampled_from([-128, -127, -1, 0, 1, 3, 127])
    lhs, rhs = (
        data.draw(st.lists(st.lists(value, min_size=c, max_size=c), min_size=r, max_size=r))
        for r, c in ((m, k), (k, n))
    )
    array = array_of(*shape, dataflow, depth, *convention)
    bits, overflow = register
    got = run_array(lhs, rhs, array, Accumulator(bits, Overflow[overflow], dot_depth=depth))
    out, leave, busy, toggles = twin_run(lhs, rhs, array, lambda x: reference.fit(x, bits, overflow), (8, 8, bits))
    assert got.out.tolist() == out
    assert got.leave_cycles.tolist() == leave
    assert got.busy.tolist() == busy
    assert {"lhs": got.lhs_toggles, "rhs": got.rhs_toggles, "sum": got.sum_toggles} == toggles
    assert got.results_per_port == 1


# ---- exact results ----


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE], ids=lambda o: o.name)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_results_equal_the_datapath_with_accumulators_that_overflow(dataflow: str, overflow: Overflow) -> None:
    lhs, rhs = random_pair(7, 29, 11, 90)
    for (rows, columns), depth, bits in itertools.product([(3, 2), (5, 7)], (1, 2, 4), (15, 16, 18)):
        accumulator = Accumulator(bits, overflow, dot_depth=depth)
        got = run_array(lhs, rhs, array_of(rows, columns, dataflow, depth), accumulator)
        np.testing.assert_array_equal(got.out, datapath.matmul(lhs, rhs, accumulator))


# ---- the closed form ----


def grid() -> Iterator[tuple[int, ...]]:
    yield from itertools.product((1, 2, 3, 5, 7), (1, 2, 5, 7, 11), (1, 3, 5), (1, 2, 3, 5), (1, 2, 3))


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_closed_form_equals_the_registers_on_all_small_shapes(dataflow: str, convention: tuple[str, bool]) -> None:
    """Cycles to the cycle, exact products, every multiplication once: 900 shapes and arrays."""
    seen = {}
    for m, k, n, rows, columns in grid():
        lhs, rhs = random_pair(m, k, n)
        if (rows, columns) not in seen:
            seen[rows, columns] = roomy(rows, columns, dataflow, *convention)
        accelerator = seen[rows, columns]
        got = run_array(lhs, rhs, accelerator.array)
        timing = closed_form(gemm(m, k, n, accelerator), accelerator)
        assert got.total_cycles == timing.compute_cycles, (m, k, n, rows, columns)
        np.testing.assert_array_equal(got.out, lhs @ rhs)
        assert got.busy.sum() == m * k * n
        assert got.utilization == m * k * n / (rows * columns * got.total_cycles)


@pytest.mark.parametrize("convention", [OVERLAPPING, IN_PART, SHIFTED_IN_PART], ids=str)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_closed_form_equals_the_registers_where_folds_overlap_or_take_their_part(
    dataflow: str, convention: tuple[str, bool, dict[str, Any]]
) -> None:
    """The same 900 shapes and arrays; each result leaves alone on its wire."""
    seen = {}
    drain, hidden, changes = convention
    for m, k, n, rows, columns in grid():
        lhs, rhs = random_pair(m, k, n)
        if (rows, columns) not in seen:
            seen[rows, columns] = roomy(rows, columns, dataflow, drain, hidden, **changes)
        accelerator = seen[rows, columns]
        got = run_array(lhs, rhs, accelerator.array)
        timing = closed_form(gemm(m, k, n, accelerator), accelerator)
        assert got.total_cycles == timing.compute_cycles, (m, k, n, rows, columns)
        np.testing.assert_array_equal(got.out, lhs @ rhs)
        assert got.busy.sum() == m * k * n
        assert got.results_per_port == 1


def test_overlapping_folds_by_hand() -> None:
    """Two columns of one element stream 3 steps each without a gap; four rows of weights take 4 cycles to load."""
    array = Array.from_fields({"rows": 1, "columns": 1, "dataflow": "output_stationary", "overlap_folds": True})
    got = run_array([[1, 2, 3]], [[1, 1], [1, 1], [1, 0]], array)
    assert (got.leave_cycles.tolist(), got.busy.tolist()) == ([[2, 5]], [1] * 6)
    held = {"rows": 4, "columns": 1, "dataflow": "weight_stationary", "double_buffered": True, "overlap_folds": True}
    got = run_array([[1] * 8, [2] * 8], [[1]] * 8, Array.from_fields(held))
    # 4 loads, the second tile 4 cycles after the first, its two sums leave the fourth row 3 and 4 cycles after that
    assert (got.out.tolist(), got.leave_cycles.tolist(), got.total_cycles) == ([[8], [16]], [[11], [12]], 13)


def test_a_partial_tile_by_hand() -> None:
    """3 rows on an array of 2: a tile of 2 x 2 takes 2 + 2 + 2 - 2 cycles, one of 1 x 2 one less."""
    fields = {"rows": 2, "columns": 2, "dataflow": "output_stationary", "partial_tiles": "part"}
    got = run_array([[1, 2], [3, 4], [5, 6]], [[1, 0], [0, 1]], Array.from_fields(fields))
    assert (got.leave_cycles.tolist(), got.total_cycles) == ([[1, 2], [2, 3], [5, 6]], 7)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_closed_form_equals_the_registers_with_adder_trees(dataflow: str) -> None:
    for (m, k, n), (rows, columns), depth in itertools.product(
        [(5, 11, 7), (2, 3, 1), (1, 16, 4)], [(1, 1), (3, 2), (2, 5)], (2, 3, 4)
    ):
        accelerator = roomy(rows, columns, dataflow, "bus", False, array__dot_depth=depth)
        lhs, rhs = random_pair(m, k, n)
        got = run_array(lhs, rhs, accelerator.array)
        assert got.total_cycles == closed_form(gemm(m, k, n, accelerator), accelerator).compute_cycles
        np.testing.assert_array_equal(got.out, lhs @ rhs)


def roomy(rows: int, columns: int, dataflow: str, drain: str, hidden: bool, **changes: Any) -> hwsim.Accelerator:
    memories = {f"memories__{name}__capacity_bytes": 1 << 30 for name in ("activation", "weight", "output")}
    return machine(
        array__rows=rows,
        array__columns=columns,
        array__dataflow=dataflow,
        array__drain=drain,
        array__double_buffered=hidden,
        **(memories | changes),
    )


def gemm(m: int, k: int, n: int, accelerator: hwsim.Accelerator) -> hwsim.Plan:
    layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y")
    return hwsim.lower(layer, Scheme.load("w8a8-static"), accelerator)


def test_a_result_leaves_in_the_cycle_that_completes_it() -> None:
    """Element (i, j) starts i + j cycles late and multiplies k times (Kung, IEEE Computer 15(1), 1982)."""
    lhs, rhs = random_pair(3, 5, 2)
    array = array_of(3, 2, "output_stationary")
    expected = [[4 + i + j for j in range(2)] for i in range(3)]
    assert run_array(lhs, rhs, array).leave_cycles.tolist() == expected
    shifted = [[4 + i + j + i + 1 for j in range(2)] for i in range(3)]
    assert run_array(lhs, rhs, array.replace(drain="shift")).leave_cycles.tolist() == shifted


def test_toggles_by_hand() -> None:
    """One element: 1, 2, 3 against 1: operand registers go 0 1 2 3 and 0 1 1 1, the sum 0 1 3 6."""
    got = run_array([[1, 2, 3]], [[1], [1], [1]], array_of(1, 1, "output_stationary"))
    assert (got.lhs_toggles, got.rhs_toggles, got.sum_toggles) == (1 + 2 + 1, 1, 1 + 1 + 2)
    assert run_array([[-1]], [[1]], array_of(1, 1, "output_stationary"), lhs_bits=4).lhs_toggles == 4


@pytest.mark.parametrize(
    ("lhs", "rhs", "changes", "text"),
    [
        ([[1, 2]], [[1]], {}, "lhs and rhs must contract, not [1, 2] by [1, 1]"),
        ([[300]], [[1]], {}, "lhs must fit 8 bits, signed or unsigned, not reach from 300 to 300"),
        ([[-1, 200]], [[1], [1]], {}, "lhs must fit 8 bits, signed or unsigned, not reach from -1 to 200"),
        ([[1]], [[1]], {"rhs_bits": 19}, "rhs_bits must be in 1..18, not 19"),
        ([1], [[1]], {}, "lhs must be a matrix that is not empty, not of shape [1]"),
        ([[1]], [[]], {"rhs_bits": 8}, "rhs must hold integers, not float64"),
        (
            [[1]],
            [[1]],
            {"accumulator": Accumulator(32, Overflow.TRAP)},
            "accumulator.overflow must be wrap or saturate, not trap",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(lhs: Any, rhs: Any, changes: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(text)}$"):
        run_array(lhs, rhs, array_of(2, 2, "output_stationary"), **changes)


def test_a_run_of_hours_is_refused_before_it_starts() -> None:
    with pytest.raises(ValueError, match=r"^register-level run must take at most 134217728 cycles and 34359738368"):
        run_array(np.ones((4096, 8192), np.int8), np.ones((8192, 4096), np.int8), array_of(8, 8, "output_stationary"))


def test_an_accumulator_of_another_depth_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^accumulator must be one register behind 1 products, not Accumulator\("):
        run_array([[1]], [[1]], array_of(2, 2, "output_stationary"), Accumulator(32, Overflow.WRAP, dot_depth=2))
