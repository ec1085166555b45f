"""The terms of chosen outputs, one by one: the slow and general way that verdicts by values and by weights take.

Rows are outputs, columns are steps of the reduction in loop order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Operand
from quant.layout import Level, ScaleLayoutError

from .problem import OPERANDS, Problem
from .runs import Lengths, Segments

Array = npt.NDArray[Any]
Scales = tuple[Array, ...]
"""One array a level, each in its level's scale shape."""

CHUNK = 1 << 22
"""Terms held in memory at a time."""


def check_scales(problem: Problem, operand: Operand, scales: object) -> Scales:
    """Bring scales into one array a level and check shape and sign.

    Parameters
    ----------
    scales
        An array for a layout of one level, or a sequence of them. Numbers are floats, integers or Fractions.

    Raises
    ------
    ScaleLayoutError
        If a shape does not fit its level, or a scale is not a positive finite number of the level's kind.
    """
    layout = problem.layout(operand)
    listed: Sequence[Any] = scales if isinstance(scales, tuple | list) else (scales,)
    if len(listed) != len(layout.levels):
        msg = f"{operand} must have one array of scales for each of {len(layout.levels)} levels, not {len(listed)}"
        raise ScaleLayoutError(msg)
    sizes = problem.sizes
    shape = tuple(sizes[axis] for axis in layout.axes)
    checked = []
    for level, given in zip(layout.levels, listed, strict=True):
        array = np.asarray(given)
        expected = level.scale_shape(layout.axes, shape)
        if array.size == 1 and math.prod(expected) == 1:
            array = array.reshape(expected)
        if array.shape != expected:
            msg = f"scales of {operand} {level} must have shape {expected}, not {array.shape}"
            raise ScaleLayoutError(msg)
        if array.dtype != object:
            bad = ~(np.isfinite(array) & (array > 0))
        else:
            bad = np.array([not (isinstance(x, int | Fraction) and x > 0) for x in array.flat]).reshape(expected)
        if bad.any():
            msg = f"scales of {operand} {level} must be positive and finite, not {array[bad].flat[0]}"
            raise ScaleLayoutError(msg)
        _check_kind(operand, level, array)
        checked.append(array)
    return tuple(checked)


def _check_kind(operand: Operand, level: Level, array: Array) -> None:
    if array.dtype == object or level.kind == "real":
        return
    wide = array.astype(np.float64)
    fits = wide == np.floor(wide) if level.kind == "int" else np.frexp(wide)[0] == 0.5
    if not fits.all():
        rule = "integers" if level.kind == "int" else "powers of two"
        msg = f"scales of {operand} {level} must be {rule}, not {array[~fits].flat[0]}"
        raise ScaleLayoutError(msg)


class Terms:
    """Index arithmetic over chosen outputs and the whole reduction.

    Parameters
    ----------
    problem
        Contraction, sizes, layouts and loop order.
    chosen : label -> int [count]
        Positions to look at along a label; all of them where it is left out. Positions of a loop label stand for those
        up to the next one, which is for the caller to justify; only a reduction of one loop can be thinned out.

    Attributes
    ----------
    shape : (outputs, steps)
        Rows and columns of every table.
    widths : steps [steps]
        How many steps of the reduction each column stands for.
    """

    def __init__(self, problem: Problem, chosen: Mapping[str, npt.ArrayLike] | None = None) -> None:
        self.problem = problem
        sizes = problem.sizes
        self.out_labels = problem.contraction.out
        given = chosen or {}
        labels = self.out_labels + problem.order
        self.positions = {x: np.asarray(given.get(x, np.arange(sizes[x])), np.int64) for x in labels}
        self.grid = tuple(len(self.positions[x]) for x in self.out_labels)
        self.loops = tuple(len(self.positions[x]) for x in problem.order)
        self.shape = (math.prod(self.grid), math.prod(self.loops))
        self.widths = np.ones(self.shape[1], np.int64)
        if len(problem.order) == 1:
            self.widths = np.diff(self.positions[problem.order[0]], append=sizes[problem.order[0]])
        self._links = {link.lhs: link for link in problem.contraction.links}

    def _axis(self, label: str) -> Array:
        """Position along a label, shaped to broadcast over the output grid and the loops."""
        rank = len(self.grid) + len(self.loops)
        if label in self._links:
            link = self._links[label]
            return link.lhs_at(self._axis(link.rhs), self._axis(link.out), self.problem.sizes[label])[0]
        values = self.positions[label]
        where = (self.out_labels + self.problem.order).index(label)
        shape = [1] * rank
        shape[where] = len(values)
        return values.reshape(shape)

    def step_at(self, column: int) -> dict[str, int]:
        """Positions of the loops at a column."""
        index = np.unravel_index(column, self.loops)
        return {x: int(self.positions[x][i]) for x, i in zip(self.problem.order, index, strict=True)}

    def table(self, values: Array) -> Array:
        """Broadcast to ``[outputs, steps]``."""
        return np.broadcast_to(values, self.grid + self.loops).reshape(self.shape)

    def present(self) -> npt.NDArray[np.bool_]:
        """Which terms exist, as ``[outputs, steps]``."""
        found: Array = np.ones([1] * (len(self.grid) + len(self.loops)), bool)
        for link in self._links.values():
            size = self.problem.sizes[link.lhs]
            found = found & link.lhs_at(self._axis(link.rhs), self._axis(link.out), size)[1]
        return self.table(found)

    def gather(self, operand: Operand, array: Array) -> Array:
        """Look up an operand's element at every term."""
        labels = self.problem.contraction.labels_of(operand)
        return self.table(array[tuple(self._axis(label) for label in labels)] if labels else array)

    def scale(self, operand: Operand, level: Level, scale: Array) -> Array:
        """Look up the scale of one level at every term."""
        labels = self.problem.contraction.labels_of(operand)
        index = [self._axis(x) // block if (block := level.block_of(x)) else np.int64(0) for x in labels]
        return self.table(scale[tuple(index)] if labels else scale)

    def block(self, operand: Operand, level: Level) -> Array:
        """Return the block number of one level at every term."""
        sizes = self.problem.sizes
        labels = self.problem.contraction.labels_of(operand)
        shape = level.scale_shape(labels, [sizes[x] for x in labels])
        return self.scale(operand, level, np.arange(math.prod(shape)).reshape(shape))

    def classes(self) -> Array:
        """Return a number for each scale product when all scales differ: equal numbers, equal products."""
        number: Array = np.zeros((1, 1), np.int64)
        sizes = self.problem.sizes
        for operand, _, level in self.problem.levels():
            labels = self.problem.contraction.labels_of(operand)
            count = math.prod(level.scale_shape(labels, [sizes[x] for x in labels]))
            number = number * count + self.block(operand, level)
        return np.broadcast_to(number, self.shape)

    def exact(self, scales: Mapping[Operand, Scales]) -> tuple[Array, Array]:
        """Return exact scale products: odd mantissas and binary exponents, or Fractions if any scale is one."""
        fractions = any(scale.dtype == object for operand in OPERANDS for scale in scales[operand])
        mantissa: Array = np.ones((1, 1), object if fractions else np.int64)
        exponent: Array = np.zeros((1, 1), np.int64)
        width = 0
        for operand in OPERANDS:
            for level, scale in zip(self.problem.layout(operand).levels, scales[operand], strict=True):
                if fractions:
                    mantissa = mantissa * self.scale(operand, level, as_fractions(scale))
                    continue
                odd, power = odd_mantissa(scale)
                width += int(odd.max()).bit_length()
                mantissa = mantissa * self.scale(operand, level, odd.astype(object) if width > 62 else odd)
                exponent = exponent + self.scale(operand, level, power)
        return np.broadcast_to(mantissa, self.shape), np.broadcast_to(exponent, self.shape)


def as_fractions(values: Array) -> Array:
    """Turn numbers into the exact rationals that they are."""
    exact = np.empty(values.size, object)
    exact[:] = [Fraction(x) if isinstance(x, int | Fraction) else Fraction(float(x)) for x in values.flat]
    return exact.reshape(values.shape)


def odd_mantissa(values: Array) -> tuple[Array, Array]:
    """Write positive numbers as odd integer times power of two.

    Examples
    --------
    >>> odd_mantissa(np.array([0.75, 6.0]))
    (array([3, 3]), array([-2,  1]))
    """
    fraction, exponent = np.frexp(values.astype(np.float64))
    whole = (fraction * (1 << 53)).astype(np.int64)
    low = whole & -whole
    return whole // low, exponent.astype(np.int64) - 53 + np.log2(low).astype(np.int64)


def numbered(mantissa: Array, exponent: Array) -> npt.NDArray[np.int64]:
    """Give equal products equal numbers."""
    _, which = np.unique(mantissa, return_inverse=True)
    lowest = int(exponent.min())
    span = int(exponent.max()) - lowest + 1
    numbers: npt.NDArray[np.int64] = which.reshape(mantissa.shape).astype(np.int64) * span + (exponent - lowest)
    return numbers


def changes(numbers: Array, present: Array) -> npt.NDArray[np.bool_]:
    """Mark the steps whose scale differs from that of the last term present before them."""
    steps = np.arange(numbers.shape[1])
    last = np.maximum.accumulate(np.where(present, steps, -1), axis=1)
    before = last[:, :-1]
    previous = np.take_along_axis(numbers, np.maximum(before, 0), axis=1)
    found = np.zeros(numbers.shape, bool)
    found[:, 1:] = present[:, 1:] & (before >= 0) & (numbers[:, 1:] != previous)
    return found


def changes_within(values: Array, present: Array, tolerance: float) -> npt.NDArray[np.bool_]:
    """Mark the steps where a run must end so that each stays within a relative tolerance of its middle.

    The middle of least and greatest scale is off by t = (max - min) / (max + min) at most; rounding of the comparison
    is taken against the tolerance.
    """
    limit = tolerance * (1 - 2.0**-40)
    lowest = np.full(values.shape[0], np.inf)
    highest = np.zeros(values.shape[0])
    found = np.zeros(values.shape, bool)
    for step in range(values.shape[1]):
        here, value = present[:, step], values[:, step]
        low = np.where(here, np.minimum(lowest, value), lowest)
        high = np.where(here, np.maximum(highest, value), highest)
        cut = here & (high > 0) & (high - low > limit * (high + low))
        found[:, step] = cut
        lowest, highest = np.where(cut, value, low), np.where(cut, value, high)
    return found


def sorted_changes(numbers: Array, present: Array) -> tuple[npt.NDArray[np.bool_], Array]:
    """Mark where the scale changes once the steps of every output are sorted by scale; absent ones join the last.

    Returns
    -------
    found : bool [outputs, steps]
    order : int64 [outputs, steps]
        Column of each sorted step.
    """
    highest = np.where(present, numbers, -1).max(axis=1, keepdims=True)
    filled = np.where(present, numbers, highest)
    order = np.argsort(filled, axis=1)
    ordered = np.take_along_axis(filled, order, axis=1)
    found = np.zeros(numbers.shape, bool)
    found[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return found, order


def measure(cuts: Array, present: Array, sorted_cuts: Array, order: Array, widths: Array) -> Segments:
    """Measure the runs between cuts, the worst over the rows.

    Parameters
    ----------
    cuts, present : bool [outputs, columns]
        Where a run begins, and which terms exist.
    sorted_cuts, order : [outputs, columns]
        Where a class begins after sorting, and the column of each sorted step.
    widths : steps [columns]
        How many steps each column stands for.
    """
    steps = int(widths.sum())
    terms = present * widths
    lengths, owner = _lengths(cuts, np.broadcast_to(widths, cuts.shape))
    by_size, sorted_owner = _lengths(sorted_cuts, widths[order])
    most_terms = int(_lengths(cuts, terms)[0].max())
    most_in_class = int(_lengths(sorted_cuts, np.take_along_axis(terms, order, axis=1))[0].max())
    runs = cuts.sum(axis=1) + 1
    classes = sorted_cuts.sum(axis=1) + 1
    most, widest = int(runs.argmax()), int(classes.argmax())
    if runs[most] == 1:
        whole = ((steps, 1),)
        return Segments(steps, 1, 1, steps, steps, most_terms, steps, most_in_class, steps, whole, whole)
    final = np.r_[owner[1:] != owner[:-1], True]
    busy = runs[owner] > 1
    where = (np.cumsum(widths) - widths)[cuts.any(axis=0)]
    return Segments(
        steps,
        int(runs[most]),
        int(classes[widest]),
        math.gcd(*where.tolist()),
        int(lengths.min()),
        most_terms,
        int(by_size.min()),
        most_in_class,
        int(lengths[busy & ~final].min()),
        _count(lengths[owner == most]),
        _count(by_size[sorted_owner == widest]),
    )


def _lengths(cuts: Array, widths: Array) -> tuple[Array, Array]:
    starts = cuts.copy()
    starts[:, 0] = True
    where = np.flatnonzero(starts)
    return np.add.reduceat(widths.ravel(), where), where // cuts.shape[1]


def _count(lengths: Array) -> Lengths:
    values, counts = np.unique(lengths, return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))


def chunks(problem: Problem, chosen: Mapping[str, Array]) -> Iterator[Terms]:
    """Walk through the chosen outputs in pieces that fit in memory."""
    whole = Terms(problem, chosen)
    if math.prod(whole.shape) <= CHUNK or not whole.grid:
        yield whole
        return
    split = max(whole.out_labels, key=lambda label: len(whole.positions[label]))  # steps stay together
    positions = whole.positions[split]
    if len(positions) == 1:
        yield whole
        return
    half = len(positions) // 2
    for part in (positions[:half], positions[half:]):
        yield from chunks(problem, {**whole.positions, split: part})


def join(pieces: Sequence[Segments]) -> Segments:
    """Take the worst of every figure over pieces of the output."""
    most = max(pieces, key=lambda one: one.runs)
    widest = max(pieces, key=lambda one: one.classes)
    busy = [one for one in pieces if one.runs > 1] or list(pieces)
    return Segments(
        most.length,
        most.runs,
        widest.classes,
        math.gcd(*(one.aligned for one in busy)),
        min(one.min_run for one in busy),
        max(one.max_run for one in pieces),
        min(one.min_class for one in busy),
        max(one.max_class for one in pieces),
        min(one.inner_run for one in busy),
        most.lengths,
        widest.class_lengths,
    )
