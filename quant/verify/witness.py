"""Operands that prove a verdict: equal integer accumulators, different real results.

If two terms r1, r2 of an output have scale products c1 != c2, put a single 1 into each operand so that they meet at r1,
or so that they meet at r2. They meet nowhere else, so every accumulator is equal (1 at the output, 0 elsewhere), and
the real results are c1 and c2: no function of the accumulators can be right on both. With weights given, the
activations a[r1] + w[r2]/g and a[r2] - w[r1]/g with g = gcd(w[r1], w[r2]) leave the output's own accumulator as it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Contraction, Operand
from quant.layout import Level

from .problem import OPERANDS, Problem

Position = tuple[int, ...]
Codes = tuple[tuple[Position, int], ...]
"""Nonzero codes of an operand."""
Block = tuple[Operand, int, Position]
"""One scale: operand, level, index in the level's scales."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two operand sets: codes that are not 0."""

    lhs: Codes
    rhs: Codes

    def dense(self, problem: Problem) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Write both operands out as arrays."""
        arrays = []
        for operand, codes in zip(OPERANDS, (self.lhs, self.rhs), strict=True):
            array = np.zeros(problem.contraction.shape_of(operand, problem.sizes), np.int64)
            for position, code in codes:
                array[position] = code
            arrays.append(array)
        return arrays[0], arrays[1]


@dataclass(frozen=True, slots=True)
class Witness:
    """Two sets of operands under the same scales that accumulate alike and mean different things.

    Attributes
    ----------
    problem
        Contraction, sizes and layouts.
    first, second
        The two sets.
    scales
        Scales that are not 1, by operand, level and block.
    output
        Index of the output whose real results differ.
    steps
        The two steps of the reduction, as ``(label, position)`` pairs.
    every_accumulator
        True if all accumulators of the whole output are equal; false if, with weights given, that of `output` is.
    table
        Decoder of the codes of rhs (or lhs) by theorem 6; empty for affine codes.
    table_operand
        Operand that `table` decodes.
    """

    problem: Problem
    first: Side
    second: Side
    scales: tuple[tuple[Block, Fraction], ...]
    output: Position
    steps: tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]
    every_accumulator: bool = True
    table: tuple[Fraction, ...] = ()
    table_operand: Operand = "rhs"

    def accumulators(self, side: Side) -> dict[Position, int]:
        """Integer sums that are not 0, by output index."""
        sums: dict[Position, int] = {}
        for (left, a), (right, w) in itertools.product(side.lhs, side.rhs):
            where = meet(self.problem, left, right)
            if where is not None:
                sums[where] = sums.get(where, 0) + a * w
        return {where: total for where, total in sums.items() if total}

    def real(self, side: Side) -> Fraction:
        """Real result at `output`, exactly."""
        total = Fraction(0)
        for (left, a), (right, w) in itertools.product(side.lhs, side.rhs):
            if meet(self.problem, left, right) == self.output:
                total += self._value("lhs", left, a) * self._value("rhs", right, w)
        return total

    def _value(self, operand: Operand, position: Position, code: int) -> Fraction:
        value = self.table[code] if self.table and operand == self.table_operand else Fraction(code)
        known = dict(self.scales)
        axes = self.problem.contraction.labels_of(operand)
        for index, level in enumerate(self.problem.layout(operand).levels):
            value *= known.get((operand, index, block_at(level, axes, position)), Fraction(1))
        return value

    def check(self, parts: Sequence[Sequence[int]] | None = None) -> bool:
        """Recompute both sides in exact rationals.

        Parameters
        ----------
        parts : step numbers
            Partition of the reduction of `output` into partial sums, each kept in an accumulator of its own; the two
            steps of the witness must share a part. None for one accumulator.

        Returns
        -------
        proved
            True if the accumulators are equal and the real results differ.
        """
        one, two = self.accumulators(self.first), self.accumulators(self.second)
        if parts is not None:
            numbers = [step_number(self.problem, dict(step)) for step in self.steps]
            if not any(numbers[0] in part and numbers[1] in part for part in parts):
                return False
        if not self.every_accumulator:
            one, two = ({self.output: sums.get(self.output, 0)} for sums in (one, two))
        return one == two and self.real(self.first) != self.real(self.second)

    def scale_arrays(self, operand: Operand) -> tuple[npt.NDArray[Any], ...]:
        """Scales of one operand as arrays of Fractions, one a level."""
        axes = self.problem.contraction.labels_of(operand)
        shape = self.problem.contraction.shape_of(operand, self.problem.sizes)
        arrays = []
        for index, level in enumerate(self.problem.layout(operand).levels):
            array = np.full(level.scale_shape(axes, shape), Fraction(1), object)
            for (side, number, block), value in self.scales:
                if (side, number) == (operand, index):
                    array[block] = value
            arrays.append(array)
        return tuple(arrays)

    def __str__(self) -> str:
        lines = []
        if self.table:
            lines.append(f"decoder of {self.table_operand}: " + ", ".join(map(str, self.table)))
        for (operand, level, block), value in self.scales:
            lines.append(f"scale of {operand}, level {level}, block {_index(block)} is {value}; all others are 1")
        for name, side in (("first", self.first), ("second", self.second)):
            codes = [f"{n}{_index(p)}={c}" for n, part in (("lhs", side.lhs), ("rhs", side.rhs)) for p, c in part]
            sums = self.accumulators(side).get(self.output, 0)
            lines.append(f"{name}: {', '.join(codes)} -> acc{_index(self.output)} = {sums}, real = {self.real(side)}")
        return "\n".join(lines)


def _index(position: Position) -> str:
    return "[" + ",".join(map(str, position)) + "]"


def block_at(level: Level, axes: Sequence[str], position: Position) -> Position:
    """Index in a level's scales of an element."""
    return tuple(
        where // block if (block := level.block_of(axis)) else 0 for axis, where in zip(axes, position, strict=True)
    )


def meet(problem: Problem, lhs: Position, rhs: Position) -> Position | None:
    """Output where two elements are multiplied, or None."""
    contraction, sizes = problem.contraction, problem.sizes
    where = dict(zip(contraction.rhs, rhs, strict=True))
    for label, position in zip(contraction.lhs, lhs, strict=True):
        if where.setdefault(label, position) != position:
            return None
    for link in contraction.links:
        out = link.out_at(where[link.lhs], where[link.rhs], sizes[link.out])
        if out is None:
            return None
        where[link.out] = out
    return tuple(where[label] for label in contraction.out)


def positions_at(
    problem: Problem, output: Mapping[str, int], step: Mapping[str, int]
) -> tuple[Position, Position] | None:
    """Elements that are multiplied for an output at a step of its reduction, or None if the term is absent."""
    where = {**output, **step}
    for link in problem.contraction.links:
        position, present = link.lhs_at(where[link.rhs], where[link.out], problem.sizes[link.lhs])
        if not present:
            return None
        where[link.lhs] = int(position)
    contraction: Contraction = problem.contraction
    return tuple(where[x] for x in contraction.lhs), tuple(where[x] for x in contraction.rhs)


def step_number(problem: Problem, step: Mapping[str, int]) -> int:
    """Return the number of a step in loop order."""
    number = 0
    for label in problem.order:
        number = number * problem.sizes[label] + step[label]
    return number


def step_at(problem: Problem, number: int) -> dict[str, int]:
    """Positions of the loops at a step."""
    step = {}
    for label in reversed(problem.order):
        number, step[label] = divmod(number, problem.sizes[label])
    return {label: step[label] for label in problem.order}


def between(
    problem: Problem,
    output: Mapping[str, int],
    steps: tuple[Mapping[str, int], Mapping[str, int]],
    scales: Mapping[Operand, Sequence[npt.NDArray[Any]]] | None = None,
) -> Witness:
    """Build the witness for two terms of an output whose scales may, or with scales given do, differ.

    Raises
    ------
    ValueError
        If a term is absent, or both have the same scales.
    """
    pairs = [positions_at(problem, output, step) for step in steps]
    if pairs[0] is None or pairs[1] is None:
        msg = f"both steps must be terms of output {dict(output)}, not {dict(steps[0])} and {dict(steps[1])}"
        raise ValueError(msg)
    (a1, w1), (a2, w2) = pairs[0], pairs[1]
    if scales is None:
        known = _double(problem, {"lhs": (a1, a2), "rhs": (w1, w2)})
    else:
        known = _given(problem, scales, {"lhs": (a1, a2), "rhs": (w1, w2)})
    where = tuple(output[label] for label in problem.contraction.out)
    witness = Witness(
        problem,
        Side(((a1, 1),), ((w1, 1),)),
        Side(((a2, 1),), ((w2, 1),)),
        known,
        where,
        (tuple(steps[0].items()), tuple(steps[1].items())),
    )
    if not known or not witness.check():
        msg = f"steps must differ in scale, not {dict(steps[0])} and {dict(steps[1])}"
        raise ValueError(msg)
    return witness


def _double(problem: Problem, pairs: Mapping[Operand, tuple[Position, Position]]) -> tuple[tuple[Block, Fraction], ...]:
    """Set the scale of one block that only the second term uses to 2."""
    for operand, index, level in problem.levels():
        axes = problem.contraction.labels_of(operand)
        one, two = (block_at(level, axes, position) for position in pairs[operand])
        if one != two:
            return (((operand, index, two), Fraction(2)),)
    return ()


def _given(
    problem: Problem,
    scales: Mapping[Operand, Sequence[npt.NDArray[Any]]],
    pairs: Mapping[Operand, tuple[Position, Position]],
) -> tuple[tuple[Block, Fraction], ...]:
    known: dict[Block, Fraction] = {}
    for operand, index, level in problem.levels():
        axes = problem.contraction.labels_of(operand)
        for position in pairs[operand]:
            block = block_at(level, axes, position)
            value = scales[operand][index][block]
            exact = Fraction(value) if isinstance(value, int | Fraction) else Fraction(float(value))
            known[operand, index, block] = exact
    return tuple(known.items())


def with_weights(witness: Witness, operand: Operand, codes: npt.NDArray[Any]) -> Witness:
    """Turn a witness into one that keeps the given codes of one operand, by theorem 2.

    Parameters
    ----------
    witness
        Blind witness of two terms whose codes in `codes` are not 0.
    operand
        Operand whose codes are given; the other one is chosen.
    codes : int
        All codes of that operand.
    """
    problem = witness.problem
    known = [getattr(side, operand)[0][0] for side in (witness.first, witness.second)]
    free: Operand = "lhs" if operand == "rhs" else "rhs"
    moved = [getattr(side, free)[0][0] for side in (witness.first, witness.second)]
    w1, w2 = (int(codes[position]) for position in known)
    common = gcd(w1, w2)
    number = problem.lhs_format if free == "lhs" else problem.rhs_format
    sides: tuple[list[tuple[Position, int]], list[tuple[Position, int]]] = ([], [])
    for position, step in zip(moved, (w2 // common, -w1 // common), strict=True):
        high = max(min(step, number.hi), 0) if step > 0 else max(step, number.lo) if number.lo < 0 else 0
        for side, value in zip(sides, (high - step, high), strict=True):
            if value:
                side.append((position, value))
    fixed = tuple((position, int(codes[position])) for position in known)
    pair = [Side(tuple(side), fixed) if free == "lhs" else Side(fixed, tuple(side)) for side in (sides[0], sides[1])]
    return Witness(problem, pair[0], pair[1], witness.scales, witness.output, witness.steps, every_accumulator=False)


def of_codes(problem: Problem, operand: Operand, table: Sequence[Fraction]) -> Witness:
    """Build the witness for codes that are not affine: (i, i+2) and (i+1, i+1) have one sum and different meanings.

    Where a sum has one term, ``a i = b j`` while ``a f(i)`` and ``b f(j)`` differ.

    Parameters
    ----------
    operand
        Operand whose codes `table` decodes.
    table
        Decoder; not affine.

    Raises
    ------
    ValueError
        If the decoder is affine, or an output has no term.
    """
    bends = [i for i in range(len(table) - 2) if table[i] + table[i + 2] != 2 * table[i + 1]]
    if not bends:
        msg = f"table must not be affine, not {[str(value) for value in table]}"
        raise ValueError(msg)
    output = dict.fromkeys(problem.contraction.out, 0)
    found: list[tuple[dict[str, int], tuple[Position, Position]]] = []
    for number in range(problem.gemm.k):
        step = step_at(problem, number)
        pair = positions_at(problem, output, step)
        if pair is not None:
            found.append((step, pair))
        if len(found) == 2:
            break
    if not found:
        msg = f"output {output} must have a term, not none"
        raise ValueError(msg)
    if len(found) == 1:
        return _of_one_code(problem, operand, table, found[0])
    (one, (a1, w1)), (two, (a2, w2)) = found
    i = bends[0]
    ones: Codes = ((a1, 1), (a2, 1)) if operand == "rhs" else ((w1, 1), (w2, 1))
    codes = [((w1, x), (w2, y)) if operand == "rhs" else ((a1, x), (a2, y)) for x, y in ((i, i + 2), (i + 1, i + 1))]
    sides = [Side(ones, code) if operand == "rhs" else Side(code, ones) for code in codes]
    where = (0,) * len(problem.contraction.out)
    steps = (tuple(one.items()), tuple(two.items()))
    return Witness(problem, sides[0], sides[1], (), where, steps, True, tuple(table), operand)


def _of_one_code(
    problem: Problem,
    operand: Operand,
    table: Sequence[Fraction],
    term: tuple[dict[str, int], tuple[Position, Position]],
) -> Witness:
    step, (left, right) = term
    numbers = range(len(table))
    i, j = next((i, j) for i, j in itertools.product(numbers, numbers) if i and j and j * table[i] != i * table[j])
    sides = []
    for code, other in ((i, j), (j, i)):
        pair: tuple[Codes, Codes] = ((left, other),), ((right, code),)
        sides.append(Side(*pair) if operand == "rhs" else Side(((left, code),), ((right, other),)))
    where = (0,) * len(problem.contraction.out)
    steps = (tuple(step.items()), tuple(step.items()))
    return Witness(problem, sides[0], sides[1], (), where, steps, True, tuple(table), operand)
