"""How often the scale of a product changes along the reduction, in closed form.

Along one axis a block index never goes back, so the axis falls into runs of equal scale. In a nest of loops the
innermost axis with two or more runs decides: what lies inside it is constant, and every step of a loop outside it
starts a new run. The classes of a nest are the products of its axes' classes, by unique factorization when every scale
is its own prime. A convolution has a few kinds of output along each linked axis, by border and by phase of the stride;
each is decided once.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from quant.contraction import Link

from .problem import Problem, Varying

Lengths = tuple[tuple[int, int], ...]
"""Runs as ``(length, how many)``."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One loop of the reduction for one kind of output.

    Attributes
    ----------
    lengths : ((steps, count), ...)
        Runs of equal scale in order, equal neighbours written once, absent terms counted with the run before them.
    present : steps
        Terms that exist; fewer than the loop's length at the border of a convolution or in the gaps of its stride.
    widest : terms
        Most terms that exist in one run.
    """

    lengths: Lengths
    present: int
    widest: int

    @property
    def size(self) -> int:
        """Length of the loop."""
        return sum(length * count for length, count in self.lengths)

    @property
    def runs(self) -> int:
        """Number of runs, which is the number of different scales."""
        return sum(count for _, count in self.lengths)


@dataclass(frozen=True, slots=True)
class Segments:
    """How the reduction falls apart into sums of equal scale; the worst output where they differ.

    Attributes
    ----------
    length : steps
        The whole reduction.
    runs : sums
        Runs of equal scale in the given order.
    classes : sums
        Different scales: the runs that remain after the best permutation.
    aligned : steps
        Longest length L such that cutting every L steps separates all scales.
    min_run : steps
        Shortest run in order.
    max_run : products
        Most terms in one run; absent ones do not count.
    min_class : steps
        Smallest set of steps with one scale.
    max_class : products
        Most terms with one scale.
    inner_run : steps
        Shortest run other than the last one of the reduction, which padding at its end completes.
    lengths : ((steps, count), ...)
        Runs by length, of an output with the most runs.
    class_lengths : ((steps, count), ...)
        Classes by size, of an output with the most classes.
    """

    length: int
    runs: int
    classes: int
    aligned: int
    min_run: int
    max_run: int
    min_class: int
    max_class: int
    inner_run: int
    lengths: Lengths
    class_lengths: Lengths


def compress(lengths: Iterable[int]) -> Lengths:
    """Write equal neighbours once."""
    return tuple((length, len(list(group))) for length, group in itertools.groupby(lengths))


@functools.lru_cache(maxsize=4096)
def block_axis(size: int, blocks: frozenset[int]) -> Axis:
    """Cut an axis where a block of any of these sizes ends; blocks that nest cost nothing per element."""
    useful = {block for block in blocks if block < size}
    useful = {block for block in useful if not any(block % other == 0 for other in useful if other < block)}
    if len(useful) < 2:
        block = next(iter(useful), size)
        whole, rest = divmod(size, block)
        return Axis(((block, whole),) + (((rest, 1),) if rest else ()), size, block)
    starts = functools.reduce(np.union1d, (np.arange(0, size, block) for block in useful))
    lengths = np.diff(starts, append=size).tolist()
    return Axis(compress(lengths), size, max(lengths))


@functools.lru_cache(maxsize=1024)
def link_axes(
    link: Link, sizes: tuple[int, int, int], lhs_blocks: frozenset[int], rhs_blocks: frozenset[int]
) -> tuple[Axis, ...]:
    """Kinds of output along a linked axis: one `Axis` for each border and each phase.

    Parameters
    ----------
    link
        The equation.
    sizes
        Lengths of its lhs, rhs and output axes.
    lhs_blocks, rhs_blocks
        Block sizes that levels of each operand list on its axis.
    """
    size_lhs, size_rhs, size_out = sizes
    taps = np.arange(size_rhs)
    position, present = link.lhs_at(taps, np.arange(size_out)[:, None], size_lhs)
    change = np.zeros((size_out, size_rhs), bool)
    held = position.copy()
    seen = present.copy()
    for tap in range(1, size_rhs):  # an absent term keeps the position of the last one present
        keep = ~present[:, tap]
        held[keep, tap] = held[keep, tap - 1]
        seen[:, tap] |= seen[:, tap - 1]
    last = np.where(present, taps, 0)
    last = np.maximum.accumulate(last, axis=1)
    for tap in range(1, size_rhs):
        here = present[:, tap] & seen[:, tap - 1]
        for block in lhs_blocks:
            change[:, tap] |= here & (held[:, tap] // block != held[:, tap - 1] // block)
        for block in rhs_blocks:
            change[:, tap] |= here & (tap // block != last[:, tap - 1] // block)
    kinds = {(row.tobytes(), there.tobytes()) for row, there in zip(change, present, strict=True)}
    axes: set[Axis] = set()
    for row, exists in kinds:
        there = np.frombuffer(exists, bool)
        starts = [0, *np.flatnonzero(np.frombuffer(row, bool)).tolist(), size_rhs]
        runs = list(itertools.pairwise(starts))
        if there.any():
            widest = max(int(there[a:b].sum()) for a, b in runs)
            axes.add(Axis(compress(b - a for a, b in runs), int(there.sum()), widest))
    return tuple(sorted(axes, key=lambda axis: (axis.lengths, axis.present, axis.widest)))


def segments(problem: Problem, kinds: Sequence[str] = ("real", "int", "pow2")) -> Segments:
    """Cut the reduction where a level of one of these kinds changes.

    Examples
    --------
    >>> from quant.verify.problem import build_problem
    >>> sizes = {"m": 8, "k": 512, "n": 8}
    >>> found = segments(build_problem("mk,kn->mn", "m:1,k:32@pow2", "k:128,n:1", sizes))
    >>> found.runs, found.aligned
    (16, 32)
    """
    sizes = problem.sizes
    links = {link.rhs: link for link in problem.contraction.links}
    blocks: dict[tuple[str, str], set[int]] = {}
    for operand, _, level in problem.levels():
        if level.kind in kinds:
            for axis, block in level.blocks:
                blocks.setdefault((operand, axis), set()).add(block)
    choices: list[tuple[Axis, ...]] = []
    for label in problem.order:
        link = links.get(label)
        right = blocks.get(("rhs", label), set())
        if link is None:
            both = blocks.get(("lhs", label), set()) | right
            choices.append((block_axis(sizes[label], frozenset(both)),))
        else:
            left = blocks.get(("lhs", link.lhs), set())
            lengths = (sizes[link.lhs], sizes[link.rhs], sizes[link.out])
            choices.append(link_axes(link, lengths, frozenset(left), frozenset(right)))
    return worst([_nest(axes) for axes in itertools.product(*choices)], math.prod(sizes[x] for x in problem.order))


def _nest(axes: Sequence[Axis]) -> Segments:
    """Combine the loops of one kind of output, outermost first."""
    size = math.prod(axis.size for axis in axes)
    varying = [index for index, axis in enumerate(axes) if axis.runs > 1]
    class_sizes = Counter({1: 1})
    for axis in axes:
        product: Counter[int] = Counter()
        for (a, i), (b, j) in itertools.product(class_sizes.items(), axis.lengths):
            product[a * b] += i * j
        class_sizes = product
    by_size = tuple(sorted(class_sizes.items()))
    classes = sum(class_sizes.values())
    if not varying:
        terms = math.prod(axis.present for axis in axes)
        return Segments(size, 1, 1, size, size, terms, size, terms, size, ((size, 1),), ((size, 1),))
    inner = varying[-1]
    unit = math.prod(axis.size for axis in axes[inner + 1 :])
    steps = math.prod(axis.size for axis in axes[:inner])
    lengths = [(length * unit, count) for length, count in axes[inner].lengths]
    last = lengths[-1]
    before_last = [*lengths[:-1], *([(last[0], last[1] - 1)] if last[1] > 1 else [])]
    repeated = steps > 1
    boundary = [length for length, _ in (lengths if repeated else before_last)]
    shortest = min(length for length, _ in lengths)
    return Segments(
        size,
        math.prod(axis.present for axis in axes[:inner]) * axes[inner].runs,
        classes,
        math.gcd(*boundary),
        shortest,
        axes[inner].widest * math.prod(axis.present for axis in axes[inner + 1 :]),
        by_size[0][0],
        math.prod(axis.widest for axis in axes),
        shortest if repeated else min(length for length, _ in before_last),
        _tally(lengths, steps),
        by_size,
    )


def _tally(lengths: Iterable[tuple[int, int]], times: int) -> Lengths:
    """Count runs by length."""
    counts: Counter[int] = Counter()
    for length, count in lengths:
        counts[length] += count * times
    return tuple(sorted(counts.items()))


def varying_levels(problem: Problem) -> tuple[Varying, ...]:
    """Find every level and axis whose scale changes along the reduction of some output."""
    sizes = problem.sizes
    contraction = problem.contraction
    found = []
    for operand, index, level in problem.levels():
        for axis, block in level.blocks:
            if axis in contraction.shared:
                changes = block < sizes[axis]
            else:
                changes = False
                for link in contraction.links:
                    if axis == (link.lhs if operand == "lhs" else link.rhs):
                        lengths = (sizes[link.lhs], sizes[link.rhs], sizes[link.out])
                        own, none = frozenset({block}), frozenset[int]()
                        pair = (own, none) if operand == "lhs" else (none, own)
                        changes = any(kind.runs > 1 for kind in link_axes(link, lengths, *pair))
            if changes:
                found.append(Varying(operand, index, axis, block, level.kind))
    return tuple(found)


def worst(kinds: Sequence[Segments], length: int) -> Segments:
    """Take the worst of every figure over the kinds of output.

    A convolution none of whose outputs has a term gives one empty run.
    """
    if not kinds:
        return Segments(length, 1, 1, length, length, length, length, length, length, ((length, 1),), ((length, 1),))
    most = max(kinds, key=lambda one: one.runs)
    return Segments(
        length,
        most.runs,
        max(one.classes for one in kinds),
        math.gcd(*(one.aligned for one in kinds if one.runs > 1)) or length,
        min(one.min_run for one in kinds),
        max(one.max_run for one in kinds),
        min(one.min_class for one in kinds),
        max(one.max_class for one in kinds),
        min(one.inner_run for one in kinds),
        most.lengths,
        max(kinds, key=lambda one: one.classes).class_lengths,
    )
