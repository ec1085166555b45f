"""Run a plan step by step: integer partial sums, zero-point terms, then scales; exact, and slow on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Operand
from quant.layout import ScaleLayout, ScaleLayoutError

from .finding import Finding
from .terms import Scales, Terms, as_fractions, changes, changes_within, check_scales, chunks, numbered

Array = npt.NDArray[Any]
UNIT = 2.0**-24
"""Rounding unit of float32."""


class _Piece:
    """Partial sums of some outputs: one entry a segment, with the scale it must be multiplied by."""

    def __init__(self, found: Finding, terms: Terms, arrays: Mapping[Operand, Array], scales: Mapping[Operand, Scales]):
        present = terms.present()
        counted = present
        if found.given.codes is not None and found.given.codes_of is not None:
            counted = present & (terms.gather(found.given.codes_of, found.given.codes) != 0)
        values = _product(terms, scales)
        if found.basis == "values" or found.given.scales is not None:
            numbers = numbered(*terms.exact(scales))
        else:
            numbers = terms.classes()
        order = np.arange(terms.shape[1])[None]
        if found.needs_reorder:
            order = np.argsort(np.where(counted, numbers, numbers.max() + 1), axis=1, kind="stable")
        self._order = np.broadcast_to(order, terms.shape)
        numbers, counted = self._sort(numbers), self._sort(counted)
        self._present = self._sort(present)
        if found.tolerance:
            cuts = changes_within(self._sort(values).astype(np.float64), counted, found.tolerance)
        else:
            cuts = changes(numbers, counted)
        cuts[:, 0] = True
        self.starts = np.flatnonzero(cuts)
        self.owner = self.starts // terms.shape[1]
        self.firsts = np.flatnonzero(np.r_[True, self.owner[1:] != self.owner[:-1]])
        self._terms, self._arrays = terms, arrays
        self.scale = self._scales(self._sort(values), counted, found.tolerance)

    def _sort(self, table: Array) -> Array:
        return np.take_along_axis(np.broadcast_to(table, self._order.shape), self._order, axis=1)

    def _scales(self, values: Array, counted: Array, tolerance: float) -> Array:
        """Take one scale for each segment: its first term's, or the middle of all under a tolerance."""
        flat = values.ravel()
        if tolerance:
            wide = np.where(counted.ravel(), flat.astype(np.float64), np.nan)
            low, high = np.fmin.reduceat(wide, self.starts), np.fmax.reduceat(wide, self.starts)
            return as_fractions(np.nan_to_num((low + high) / 2, nan=1.0))
        steps = np.arange(flat.size)
        first = np.minimum.reduceat(np.where(counted.ravel(), steps, flat.size - 1), self.starts)
        return flat[first]

    def sums(self, zero: Mapping[Operand, Array]) -> Array:
        """Integer partial sums, the zero-point terms T_A, T_W and T_AW taken off."""
        codes = {operand: self._terms.gather(operand, self._arrays[operand]) for operand in self._arrays}
        total = self._add(codes["lhs"] * codes["rhs"])
        if "lhs" in zero:
            total = total - self._add(zero["lhs"] * codes["rhs"])
        if "rhs" in zero:
            total = total - self._add(zero["rhs"] * codes["lhs"])
        if len(zero) == 2:
            total = total + self._add(zero["lhs"] * zero["rhs"])
        return total

    def _add(self, products: Array) -> Array:
        sums: Array = np.add.reduceat(np.where(self._present, self._sort(products), 0).ravel(), self.starts)
        return sums


def _product(terms: Terms, scales: Mapping[Operand, Scales]) -> Array:
    total: Array = np.ones((1, 1), object)
    for operand, _, level in terms.problem.levels():
        index = terms.problem.layout(operand).levels.index(level)
        total = total * terms.scale(operand, level, as_fractions(scales[operand][index]))
    return np.broadcast_to(total, terms.shape)


def _inputs(
    found: Finding, codes: tuple[npt.ArrayLike, npt.ArrayLike], scales: tuple[object, object]
) -> tuple[dict[Operand, Array], dict[Operand, Scales]]:
    problem = found.problem
    arrays: dict[Operand, Array] = {}
    known: dict[Operand, Scales] = {}
    sides: tuple[Operand, Operand] = ("lhs", "rhs")
    for operand, code, scale in zip(sides, codes, scales, strict=True):
        array = np.asarray(code)
        shape = problem.contraction.shape_of(operand, problem.sizes)
        if array.shape != shape or array.dtype.kind not in "iu":
            msg = f"{operand} must be integers of shape {shape}, not {array.dtype} {array.shape}"
            raise ScaleLayoutError(msg)
        arrays[operand] = array.astype(np.int64)
        if scale is not None:
            known[operand] = check_scales(problem, operand, scale)
        elif found.given.scales is not None:
            known[operand] = found.given.scales[operand]
        else:
            msg = f"scales of {operand} must be given for a verdict by {found.basis}, not left out"
            raise ScaleLayoutError(msg)
    return arrays, known


def _zeros(
    found: Finding, terms: Terms, given: tuple[npt.ArrayLike | None, npt.ArrayLike | None]
) -> dict[Operand, Array]:
    problem = found.problem
    zeros: dict[Operand, Array] = {}
    sides: tuple[tuple[Operand, ScaleLayout | None], ...] = (("lhs", problem.lhs_zero), ("rhs", problem.rhs_zero))
    for (operand, layout), value in zip(sides, given, strict=True):
        if (layout is None) != (value is None):
            rule = "be left out, as the verdict has none" if layout is None else f"fit its layout {layout}"
            msg = f"{operand}_zero must {rule}, not {'missing' if value is None else 'given'}"
            raise ScaleLayoutError(msg)
        if layout is not None:
            array = np.asarray(value).astype(np.int64)
            shape = layout.levels[0].scale_shape(layout.axes, problem.contraction.shape_of(operand, problem.sizes))
            if array.size == 1:
                array = array.reshape(shape)
            if array.shape != shape or len(layout.levels) != 1:
                msg = f"{operand}_zero of {layout} must have shape {shape}, not {array.shape}"
                raise ScaleLayoutError(msg)
            zeros[operand] = terms.scale(operand, layout.levels[0], array)
    return zeros


def _pieces(
    found: Finding,
    codes: tuple[npt.ArrayLike, npt.ArrayLike],
    scales: tuple[object, object],
    zeros: tuple[npt.ArrayLike | None, npt.ArrayLike | None],
) -> Iterator[tuple[Terms, _Piece, Array]]:
    """Walk through all outputs: their terms, how these fall into partial sums, and the sums."""
    arrays, known = _inputs(found, codes, scales)
    for terms in chunks(found.problem, {}):
        piece = _Piece(found, terms, arrays, known)
        yield terms, piece, piece.sums(_zeros(found, terms, zeros))


def execute(
    found: Finding,
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    lhs_scales: object,
    rhs_scales: object,
    lhs_zero: npt.ArrayLike | None,
    rhs_zero: npt.ArrayLike | None,
) -> Array:
    """Run the plan of a verdict in exact arithmetic; see `Verdict.execute`."""
    results = []
    for terms, piece, sums in _pieces(found, (lhs, rhs), (lhs_scales, rhs_scales), (lhs_zero, rhs_zero)):
        parts = as_fractions(sums.astype(object)) * piece.scale
        results.append((terms, np.add.reduceat(parts, piece.firsts)))
    return _assemble(found, results, object)


def execute_float32(
    found: Finding,
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    lhs_scales: object,
    rhs_scales: object,
    lhs_zero: npt.ArrayLike | None,
    rhs_zero: npt.ArrayLike | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Run the plan of a verdict with float32 rescaling; see `Verdict.execute_float32`."""
    outs, bounds = [], []
    for terms, piece, sums in _pieces(found, (lhs, rhs), (lhs_scales, rhs_scales), (lhs_zero, rhs_zero)):
        scale = piece.scale.astype(np.float64)
        parts = sums.astype(np.float32) * scale.astype(np.float32)
        rank = np.arange(parts.size) - np.repeat(piece.firsts, np.diff(piece.firsts, append=parts.size))
        out = np.zeros(terms.shape[0], np.float32)
        for step in range(int(rank.max()) + 1):
            here = rank == step
            out[piece.owner[here]] += parts[here]
        magnitude = np.add.reduceat(np.abs(sums * scale), piece.firsts)
        roundings = (found.partial_sums + len(found.epilogue) + 1) * UNIT
        outs.append((terms, out))
        bounds.append((terms, magnitude * roundings / (1 - roundings) + np.finfo(np.float32).tiny))
    return _assemble(found, outs, np.float32), _assemble(found, bounds, np.float64)


def _assemble(found: Finding, pieces: list[tuple[Terms, Array]], dtype: Any) -> Array:
    labels = found.problem.contraction.out
    sizes = found.problem.sizes
    out = np.empty(tuple(sizes[x] for x in labels), dtype)
    for terms, values in pieces:
        out[np.ix_(*(terms.positions[x] for x in labels))] = values.reshape(terms.grid)
    return out
