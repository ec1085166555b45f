"""Contractions as index maps: which element of `lhs` meets which element of `rhs`, and in which output.

A contraction is an einsum of two operands, ``"mk,kn->mn"``. A convolution is the same thing with *links*,
equations that tie one axis of each tensor: ``"bchw,ocrs->bopq; h=2p+r-1, w=2q+s-1"`` is a convolution of stride 2
and padding 1. The one form covers padding, stride, dilation, groups, depthwise and transposed convolution, and the
two backward products of each; a pair of positions that meets outside the operand is an absent term.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Operand = Literal["lhs", "rhs"]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Gemm:
    """Sizes of the batched matrix product ``[batch, m, k] x [batch, k, n]`` that a contraction is."""

    batch: int
    m: int
    k: int
    n: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates, absent terms counted as the zeros that an im2col copy holds."""
        return self.batch * self.m * self.k * self.n


@dataclass(frozen=True, slots=True)
class Link:
    """One equation between an axis of each tensor, ``a lhs + b rhs + c out + constant = 0``.

    Parameters
    ----------
    lhs, rhs, out
        Labels; each occurs in its own tensor only.
    coefficients
        ``(a, b, c, constant)``, integers; ``h=2p+r-1`` with `h` in lhs and `r` in rhs is ``(1, -1, -2, 1)``.
    """

    lhs: str
    rhs: str
    out: str
    coefficients: tuple[int, int, int, int]

    def lhs_at(self, rhs: npt.ArrayLike, out: npt.ArrayLike, size: int) -> tuple[Array, Array]:
        """Solve for the lhs position.

        Parameters
        ----------
        rhs, out : int [...]
            Positions, broadcast against each other.
        size
            Length of the lhs axis.

        Returns
        -------
        position : int64 [...]
            Position in lhs where present; the nearest valid position elsewhere.
        present : bool [...]
            False where the term is absent: padding, or a gap of the stride.
        """
        a, b, c, constant = self.coefficients
        numerator = -(b * np.asarray(rhs, np.int64) + c * np.asarray(out, np.int64) + constant)
        position = numerator // a
        present = (position * a == numerator) & (position >= 0) & (position < size)
        return np.clip(position, 0, size - 1), present

    def out_at(self, lhs: int, rhs: int, size: int) -> int | None:
        """Output position where two positions meet, or None if they do not meet inside `size`."""
        a, b, c, constant = self.coefficients
        position, rest = divmod(-(a * lhs + b * rhs + constant), c)
        return position if rest == 0 and 0 <= position < size else None

    def out_size(self, lhs: int, rhs: int) -> int | None:
        """Length of the output axis under equal padding on both sides, or None if the equation does not tell."""
        a, b, c, constant = self.coefficients
        if abs(a) == 1 and a * b < 0 and a * c < 0:  # lhs = stride out + dilation rhs - padding
            return (lhs + 2 * constant * a + b * a * (rhs - 1) - 1) // (-c * a) + 1
        if abs(c) == 1 and c * a < 0 and c * b < 0:  # out = stride lhs + dilation rhs - padding
            return -a * c * (lhs - 1) - b * c * (rhs - 1) - 2 * constant * c + 1
        return None

    def __str__(self) -> str:
        a, b, c, constant = self.coefficients
        terms = [(a, self.lhs), (c, self.out), (b, self.rhs)]
        units = [term for term in terms if abs(term[0]) == 1]
        natural = [unit for unit in units if all(unit[0] * factor < 0 for factor, _ in terms if (factor, _) != unit)]
        sign, label = (natural or units)[0]
        text = "".join(_signed(-factor * sign, name) for factor, name in terms if name != label)
        return f"{label}={(text + (_signed(-constant * sign, '') if constant else '')).removeprefix('+')}"


@dataclass(frozen=True, slots=True)
class Contraction:
    """Two operands, an output, and which labels are summed.

    Build it with `parse`. Reduction labels stand in the order of the rhs operand, outermost loop first; for a link that
    is the rhs label (the tap of a convolution), from which the lhs position follows.

    Attributes
    ----------
    lhs, rhs, out
        Axis labels of the tensors, one letter each.
    links
        Equations between an axis of each tensor; empty for an einsum.

    Examples
    --------
    >>> c = Contraction.parse("bhqd,bhkd->bhqk")
    >>> c.reduction, c.batch, c.outer_lhs, c.outer_rhs
    (('d',), ('b', 'h'), ('q',), ('k',))
    >>> print(Contraction.parse("conv2d stride=2 padding=1"))
    bchw,ocrs->bopq; h=2p+r-1, w=2q+s-1
    """

    lhs: tuple[str, ...]
    rhs: tuple[str, ...]
    out: tuple[str, ...]
    links: tuple[Link, ...] = ()

    @classmethod
    def parse(cls, text: str | Contraction) -> Contraction:
        """Read an einsum, an einsum with links, or a named convolution.

        Parameters
        ----------
        text
            ``"mk,kn->mn"``; ``"bchw,ocrs->bopq; h=2p+r-1, w=2q+s-1"``; or a name with settings, ``"conv2d stride=2
            padding=1 dilation=1"``. Names: conv1d, conv2d, grouped2d (group label `g`), depthwise2d, transposed2d.

        Raises
        ------
        ValueError
            If a label is repeated in a tensor, is summed in one operand only, or is in the output only; if a link does
            not tie one label of each tensor.
        """
        return text if isinstance(text, Contraction) else _parse(text)

    def __post_init__(self) -> None:
        for name, labels in (("lhs", self.lhs), ("rhs", self.rhs), ("output", self.out)):
            for label in labels:
                if labels.count(label) > 1:
                    msg = f"label must occur once in {name}, not {label!r} in {''.join(labels)!r}"
                    raise ValueError(msg)
        linked: list[str] = []
        for link in self.links:
            self._check_link(link)
            linked += [link.lhs, link.rhs, link.out]
        if len(set(linked)) != len(linked):
            msg = f"label must occur in one link, not in two of {self}"
            raise ValueError(msg)
        for label in self.labels:
            if label in linked:
                continue
            holders = [n for n, t in (("lhs", self.lhs), ("rhs", self.rhs), ("the output", self.out)) if label in t]
            if len(holders) == 1:
                msg = f"label must occur in two or three of lhs, rhs and the output, not {label!r} in {holders[0]} only"
                raise ValueError(msg)

    def _check_link(self, link: Link) -> None:
        for name, label, home in (
            ("lhs", link.lhs, self.lhs),
            ("rhs", link.rhs, self.rhs),
            ("output", link.out, self.out),
        ):
            if label not in home or sum(label in t for t in (self.lhs, self.rhs, self.out)) != 1:
                msg = f"link must tie one label of lhs, one of rhs and one of the output, not {link} in {self.einsum}"
                raise ValueError(msg)
            if link.coefficients[("lhs", "rhs", "output").index(name)] == 0:
                msg = f"coefficient must not be 0 in a link, not {label!r} in {link}"
                raise ValueError(msg)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, in order of first appearance in lhs, rhs, output."""
        return tuple(dict.fromkeys(self.lhs + self.rhs + self.out))

    @property
    def batch(self) -> tuple[str, ...]:
        """Labels of all three tensors."""
        return tuple(x for x in self.out if x in self.lhs and x in self.rhs)

    @property
    def outer_lhs(self) -> tuple[str, ...]:
        """Labels of lhs and the output only."""
        return tuple(x for x in self.out if x in self.lhs and x not in self.rhs)

    @property
    def outer_rhs(self) -> tuple[str, ...]:
        """Labels of rhs and the output only."""
        return tuple(x for x in self.out if x in self.rhs and x not in self.lhs)

    @property
    def shared(self) -> tuple[str, ...]:
        """Reduction labels that both operands carry, in the order of rhs."""
        return tuple(x for x in self.rhs if x in self.lhs and x not in self.out)

    @property
    def reduction(self) -> tuple[str, ...]:
        """Loop labels of the sum in the order of rhs: shared ones, and the rhs label of each link."""
        taps = {link.rhs for link in self.links}
        return tuple(x for x in self.rhs if x in taps or (x in self.lhs and x not in self.out))

    @property
    def rows(self) -> tuple[str, ...]:
        """Output labels that index the rows of the matrix product: outer lhs labels and linked output labels."""
        linked = {link.out for link in self.links}
        return tuple(x for x in self.out if x in linked or (x in self.lhs and x not in self.rhs))

    def labels_of(self, operand: Operand) -> tuple[str, ...]:
        """Axis labels of one operand."""
        if operand not in ("lhs", "rhs"):
            msg = f"operand must be lhs or rhs, not {operand!r}"
            raise ValueError(msg)
        return self.lhs if operand == "lhs" else self.rhs

    @property
    def einsum(self) -> str:
        """The tensors' labels without links."""
        return f"{''.join(self.lhs)},{''.join(self.rhs)}->{''.join(self.out)}"

    def __str__(self) -> str:
        return self.einsum + ("; " + ", ".join(map(str, self.links)) if self.links else "")

    def complete(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Check the sizes of all labels and fill in those of a convolution's output.

        An output axis of a link that has no size gets that of equal padding on both sides.

        Raises
        ------
        ValueError
            If a size is missing, not positive, or belongs to no label.
        """
        full: dict[str, int] = {}
        for label, size in sizes.items():
            if label not in self.labels:
                msg = f"size must belong to one of {', '.join(self.labels)}, not {label!r}"
                raise ValueError(msg)
            try:
                full[label] = 0 if isinstance(size, bool) else operator.index(size)
            except TypeError:
                full[label] = 0
            if full[label] < 1:
                msg = f"size must be a positive integer, not {label}={size}"
                raise ValueError(msg) from None
        for link in self.links:
            if link.out not in full and link.lhs in full and link.rhs in full:
                size_out = link.out_size(full[link.lhs], full[link.rhs])
                if size_out is not None and size_out < 1:
                    given = f"{link.rhs}={full[link.rhs]} on {link.lhs}={full[link.lhs]}"
                    msg = f"kernel must fit the padded input, not {given}"
                    raise ValueError(msg)
                if size_out is not None:
                    full[link.out] = size_out
        missing = [label for label in self.labels if label not in full]
        if missing:
            msg = f"sizes must give every label of {self.einsum}, not lack {', '.join(missing)}"
            raise ValueError(msg)
        return full

    def sizes_of(self, lhs: tuple[int, ...], rhs: tuple[int, ...]) -> dict[str, int]:
        """Sizes of all labels from the shapes of the operands.

        Raises
        ------
        ValueError
            If a shape has another number of axes than labels, or the operands disagree.
        """
        sizes: dict[str, int] = {}
        for name, labels, shape in (("lhs", self.lhs, lhs), ("rhs", self.rhs, rhs)):
            if len(labels) != len(shape):
                msg = f"{name} must have axes {''.join(labels)}, not shape {tuple(shape)}"
                raise ValueError(msg)
            for label, size in zip(labels, shape, strict=True):
                if sizes.setdefault(label, int(size)) != size:
                    msg = f"{label} must have one size in both operands, not lhs {tuple(lhs)}, rhs {tuple(rhs)}"
                    raise ValueError(msg)
        return self.complete(sizes)

    def shape_of(self, operand: Operand, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Shape of one operand."""
        return tuple(sizes[label] for label in self.labels_of(operand))

    def gemm(self, sizes: Mapping[str, int]) -> Gemm:
        """Sizes of the batched matrix product that the contraction is, after im2col if it has links.

        Examples
        --------
        >>> Contraction.parse("conv2d padding=1").gemm(dict(b=1, c=64, h=56, w=56, o=64, r=3, s=3))
        Gemm(batch=1, m=3136, k=576, n=64)
        """
        full = self.complete(sizes)
        return Gemm(
            *(math.prod(full[x] for x in part) for part in (self.batch, self.rows, self.reduction, self.outer_rhs))
        )

    def im2col(self) -> Contraction:
        """Return the plain einsum over a copied lhs, in which each linked axis became an (output, tap) pair."""
        if not self.links:
            return self
        pairs = {link.lhs: (link.out, link.rhs) for link in self.links}
        copied: list[str] = []
        for label in self.lhs:
            copied += pairs.get(label, (label,))
        return Contraction(tuple(copied), self.rhs, self.out)

    def gather(self, lhs: Array, sizes: Mapping[str, int], fill: object = 0) -> Array:
        """Copy lhs into the operand of `im2col`; absent terms become `fill`, or with None what is nearest to them."""
        full = self.complete(sizes)
        copied = lhs
        for link in self.links:
            axis = self.im2col_axis(link)
            position, present = link.lhs_at(
                np.arange(full[link.rhs]), np.arange(full[link.out])[:, None], full[link.lhs]
            )
            copied = np.take(copied, position, axis=axis)
            if fill is not None:
                shape = [1] * copied.ndim
                shape[axis : axis + 2] = present.shape
                copied = np.where(present.reshape(shape), copied, np.asarray(fill, copied.dtype))
        return copied

    def im2col_axis(self, link: Link) -> int:
        """Axis of `gather`'s operand where the pair of a link begins, when links are expanded in order of lhs."""
        before = self.lhs[: self.lhs.index(link.lhs)]
        earlier = {other.lhs for other in self.links[: self.links.index(link)]}
        return len(before) + sum(label in earlier for label in before)

    def to_gemm(
        self, lhs: Array, rhs: Array, sizes: Mapping[str, int] | None = None, fill: object = 0
    ) -> tuple[Array, Array]:
        """Bring the operands into the shape of a batched matrix product.

        Parameters
        ----------
        lhs, rhs
            Operands with the axes of the contraction.
        sizes
            Sizes of the output axes of links, where equal padding does not give them.
        fill
            Value of absent terms, 0 or the zero point of lhs; None for what is nearest, as for a scale.

        Returns
        -------
        lhs : [batch, m, k]
        rhs : [batch, k, n]
        """
        full = self.sizes_of(lhs.shape, rhs.shape) if sizes is None else self.complete(sizes)
        plain = self.im2col()
        size = self.gemm(full)
        left = _permute(self.gather(lhs, full, fill), plain.lhs, self.batch + self.rows + self.reduction)
        right = _permute(rhs, self.rhs, self.batch + self.reduction + self.outer_rhs)
        return left.reshape(size.batch, size.m, size.k), right.reshape(size.batch, size.k, size.n)

    def from_gemm(self, out: Array, sizes: Mapping[str, int]) -> Array:
        """Bring the result ``[batch, m, n]`` of `to_gemm`'s product into the axes of the output."""
        full = self.complete(sizes)
        order = self.batch + self.rows + self.outer_rhs
        return _permute(out.reshape(tuple(full[x] for x in order)), order, self.out)


def _permute(array: Array, labels: tuple[str, ...], order: tuple[str, ...]) -> Array:
    return np.transpose(array, [labels.index(x) for x in order])


def _signed(factor: int, label: str) -> str:
    number = str(abs(factor)) if abs(factor) != 1 or not label else ""
    return f"{'-' if factor < 0 else '+'}{number}{label}"


_EINSUM = re.compile(r"([A-Za-z]*),([A-Za-z]*)->([A-Za-z]*)")
_NAMED = {
    "conv1d": ("bcw,ocs->boq", False),
    "conv2d": ("bchw,ocrs->bopq", False),
    "grouped2d": ("bgchw,gocrs->bgopq", False),
    "depthwise2d": ("bchw,crs->bcpq", False),
    "transposed2d": ("bchw,cors->bopq", True),
}


def _expand_name(text: str) -> str:
    name, *settings = text.replace(",", " ").split()
    values = {"stride": 1, "padding": 0, "dilation": 1}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in values or not value.isdigit() or (key != "padding" and int(value) == 0):
            msg = f"{name} must be followed by stride=, padding= or dilation= with a number, not {setting!r}"
            raise ValueError(msg)
        values[key] = int(value)
    einsum, transposed = _NAMED[name]
    stride, dilation = (str(values[key]) if values[key] != 1 else "" for key in ("stride", "dilation"))
    padding = f"-{values['padding']}" if values["padding"] else ""
    triples = [("h", "r", "p"), ("w", "s", "q")] if "h" in einsum else [("w", "s", "q")]
    links = []
    for image, tap, out in triples:
        solved, other = (out, image) if transposed else (image, out)
        links.append(f"{solved}={stride}{other}+{dilation}{tap}{padding}")
    return f"{einsum}; {', '.join(links)}"


def _parse_link(text: str, lhs: str, rhs: str, out: str) -> Link:
    left, equals, right = text.partition("=")
    terms = re.findall(r"([+-]?)(\d*)([A-Za-z]?)", right)
    if not equals or not re.fullmatch("[A-Za-z]", left) or "".join("".join(t) for t in terms) != right:
        msg = f"link must look like h=2p+r-1, not {text!r}"
        raise ValueError(msg)
    factors = {left: -1}
    constant = 0
    for sign, number, label in terms:
        if not number and not label:
            continue
        value = (int(number) if number else 1) * (-1 if sign == "-" else 1)
        if label:
            factors[label] = factors.get(label, 0) + value
        else:
            constant += value
    homes: list[str] = []
    for labels in (lhs, rhs, out):
        homes += [x for x in factors if x in labels]
    if len(factors) != 3 or len(homes) != 3:
        msg = f"link must tie one label of lhs, one of rhs and one of the output, not {text!r} in {lhs},{rhs}->{out}"
        raise ValueError(msg)
    a, b, c = homes
    if sum(x in t for x, t in ((a, lhs), (b, rhs), (c, out))) != 3:
        msg = f"link must tie one label of lhs, one of rhs and one of the output, not {text!r} in {lhs},{rhs}->{out}"
        raise ValueError(msg)
    return Link(a, b, c, (factors[a], factors[b], factors[c], constant))


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> Contraction:
    words = text.split()
    expanded = _expand_name(text) if words and words[0].rstrip(",") in _NAMED else text
    einsum, _, links = expanded.replace(" ", "").partition(";")
    match = _EINSUM.fullmatch(einsum)
    if match is None:
        msg = f"contraction must look like 'mk,kn->mn' or 'conv2d stride=2 padding=1', not {text!r}"
        raise ValueError(msg)
    lhs, rhs, out = match.groups()
    parts = tuple(_parse_link(part, lhs, rhs, out) for part in links.split(",")) if links else ()
    return Contraction(tuple(lhs), tuple(rhs), tuple(out), parts)
