"""The truth about scale layouts, from the definitions: Python integers and Fractions, nothing of the package.

A contraction is a dictionary of operand, output and reduction labels with sizes and, for convolutions, equations
``image = stride * out + dilation * tap - padding``. Scales are distinct primes, so that products are equal only
if the same scales were used (unique factorization).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Index = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A contraction written out by hand."""

    text: str
    lhs: str
    rhs: str
    out: str
    loops: str
    sizes: Mapping[str, int]
    links: tuple[tuple[str, str, str, int, int, int], ...] = ()
    """(image, out, tap, stride, dilation, padding): image = stride out + dilation tap - padding."""

    def outputs(self) -> Iterator[dict[str, int]]:
        for index in itertools.product(*(range(self.sizes[x]) for x in self.out)):
            yield dict(zip(self.out, index, strict=True))

    def steps(self) -> Iterator[dict[str, int]]:
        for index in itertools.product(*(range(self.sizes[x]) for x in self.loops)):
            yield dict(zip(self.loops, index, strict=True))

    def positions(self, output: Mapping[str, int], step: Mapping[str, int]) -> tuple[Index, Index] | None:
        where = {**output, **step}
        for image, out, tap, stride, dilation, padding in self.links:
            if out in where:
                where[image] = stride * where[out] + dilation * where[tap] - padding
            else:  # transposed: the equation is solved for the image by search
                found = [
                    i for i in range(self.sizes[out]) if stride * i + dilation * where[tap] - padding == where[image]
                ]
                if not found:
                    return None
                where[out] = found[0]
            if not 0 <= where[image] < self.sizes[image]:
                return None
        return tuple(where[x] for x in self.lhs), tuple(where[x] for x in self.rhs)


def gemm(m: int, k: int, n: int) -> Case:
    return Case("mk,kn->mn", "mk", "kn", "mn", "k", {"m": m, "k": k, "n": n})


def read(layout: str) -> list[dict[str, int]]:
    """Blocks of each level of a general layout; kinds are dropped."""
    levels = []
    for part in layout.split("*"):
        body = part.strip().partition("@")[0]
        levels.append({} if body == "1" else {a: int(b) for a, b in re.findall(r"(\w):(\d+)", body)})
    return levels


def primes() -> Iterator[int]:
    found: list[int] = []
    for number in itertools.count(2):
        if all(number % p for p in found):
            found.append(number)
            yield number


def prime_scales(axes: str, sizes: Mapping[str, int], layout: str, supply: Iterator[int]) -> dict[Index, int]:
    """Scale of every element, each block of each level with a prime of its own."""
    blocks: dict[tuple[int, Index], int] = {}
    scales: dict[Index, int] = {}
    for position in itertools.product(*(range(sizes[x]) for x in axes)):
        scale = 1
        for number, level in enumerate(read(layout)):
            block = tuple(p // level[x] if x in level else 0 for x, p in zip(axes, position, strict=True))
            if (number, block) not in blocks:
                blocks[number, block] = next(supply)
            scale *= blocks[number, block]
        scales[position] = scale
    return scales


@dataclass(frozen=True)
class Truth:
    """Runs and classes over all outputs, from exact products.

    The last three are `(length of run, is it the last run)` of every run, sizes of classes and positions of cuts, where
    every term is present.
    """

    runs: int
    classes: int
    constant: bool
    max_run: int
    max_class: int
    lengths: frozenset[tuple[int, bool]]
    sizes: frozenset[int]
    cuts: frozenset[int]


def truth(case: Case, lhs: str, rhs: str) -> Truth:
    supply = primes()
    left = prime_scales(case.lhs, case.sizes, lhs, supply)
    right = prime_scales(case.rhs, case.sizes, rhs, supply)
    runs = classes = max_run = max_class = 1
    lengths: set[tuple[int, bool]] = set()
    sizes: set[int] = set()
    cuts: set[int] = set()
    for output in case.outputs():
        products = [
            left[pair[0]] * right[pair[1]]
            for step in case.steps()
            if (pair := case.positions(output, step)) is not None
        ]
        here = [i for i, (a, b) in enumerate(itertools.pairwise(products), 1) if a != b]
        counts = [products.count(value) for value in set(products)]
        spans = [b - a for a, b in itertools.pairwise([0, *here, len(products)])]
        runs, classes = max(runs, len(spans)), max(classes, len(counts))
        max_run, max_class = max(max_run, *spans), max([max_class, *counts])
        lengths |= {(span, index == len(spans) - 1) for index, span in enumerate(spans)}
        sizes |= set(counts)
        cuts |= set(here)
    lists = frozenset(lengths), frozenset(sizes), frozenset(cuts)
    return Truth(runs, classes, classes == 1, max_run, max_class, *lists)


def contract(
    case: Case,
    lhs: Any,
    rhs: Any,
    left: Mapping[Index, Fraction] | None = None,
    right: Mapping[Index, Fraction] | None = None,
    zero: tuple[Any, Any] = (0, 0),
) -> dict[Index, Fraction]:
    """Sum (q_A - z_A) s_A (q_W - z_W) s_W over the terms present, for every output."""
    result: dict[Index, Fraction] = {}
    for output in case.outputs():
        total = Fraction(0)
        for step in case.steps():
            pair = case.positions(output, step)
            if pair is None:
                continue
            a, w = pair
            za = zero[0] if isinstance(zero[0], int) else int(zero[0][a])
            zw = zero[1] if isinstance(zero[1], int) else int(zero[1][w])
            term = Fraction((int(lhs[a]) - za) * (int(rhs[w]) - zw))
            total += term * (left[a] if left else 1) * (right[w] if right else 1)
        result[tuple(output[x] for x in case.out)] = total
    return result
