"""Rows of a design space at hand: sorted by what groups them, read in pieces that stay in the cache."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.chains import chains
from hwsim.exploration.columns import Group
from hwsim.exploration.laws import Law
from hwsim.exploration.prices import Prices, columns_of, key_of, with_columns
from hwsim.exploration.readings import Rows
from hwsim.exploration.results import VERDICTS, Results
from hwsim.exploration.variants import Variant, of_columns
from hwsim.simulation import simulate
from hwsim.timing.cycles import BOUNDS

if TYPE_CHECKING:
    from hwsim.exploration.laws import Laws
    from hwsim.exploration.studies import Study
    from hwsim.technology.memory import SramCost

Column = npt.NDArray[Any]

# Rows of a design space that share formulas from which on recording and compiling them, a quarter of a second, pays.
COMPILED_FROM = 50_000

# Numbers that are read at once: what a formula keeps at hand then stays in the second-level cache.
PIECE = 16384

# Rows below which layers that depend on one another are read point by point: numpy's calls cost more.
_FEW = 8

# Groups up to which rows are sorted by a short key, which takes a seventh of the time.
_SHORT = 1 << 16


class Block:
    """Rows at hand and their results.

    Parameters
    ----------
    study
        Whose rows they are.
    results
        Where numbers go; it says which rows.
    """

    def __init__(self, study: Study, results: Results) -> None:
        self.study, self.results = study, results
        self.places = study.space.places(results.start, results.stop)
        self.count = results.stop - results.start

    def read(self) -> None:
        """Read all rows, variant by variant."""
        with np.errstate(all="ignore"):
            for key, rows in self._variants():
                variant = self.study.variant(key[0], key[1:])
                if isinstance(variant, str):
                    self.results.fail(rows, variant)
                elif variant.chained:
                    self._read_chains(rows, variant)
                elif self.study.sizes:
                    self._read_shapes(key, rows, variant)
                else:
                    self._read_network(key, rows, variant)

    def _codes(self, path: str, rows: Column | slice) -> Column:
        """Place of each row's value among the distinct ones."""
        axis, values = self.study.space.fields[path]
        codes: Column = values.distinct[1][self.places.axes[axis][rows]]
        return codes

    def _floats(self, path: str, rows: Column) -> Column:
        """Values of each row."""
        axis, values = self.study.space.fields[path]
        floats: Column = values.floats[self.places.axes[axis][rows]]
        return floats

    def _combination(self, rows: Column | slice, varying: Sequence[str]) -> Column:
        """Place of each row's values among all combinations of several fields."""
        place: Column = np.zeros(1, np.int64)
        for path in varying:
            place = place * len(self.study.space.values(path)) + self._codes(path, rows)
        return place

    def _variants(self) -> Iterator[tuple[tuple[int, ...], Column]]:
        """Rows by scheme and grouping fields."""
        study = self.study
        lengths = [len(study.schemes), *(len(study.space.values(path)) for path in study.grouped)]
        groups = math.prod(len(study.space.values(path)) for path in study.grouped)
        code = self.places.rounds * groups + self._combination(slice(None), study.grouped)
        if groups * len(study.schemes) <= _SHORT:
            code = code.astype(np.uint16)
        order = np.argsort(code, kind="stable")
        ranked = code[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            places = np.unravel_index(int(ranked[start]), lengths)
            yield tuple(int(place) for place in places), order[start:stop]

    def _read_network(self, key: tuple[int, ...], rows: Column, variant: Variant) -> None:
        """Rows that all run the same layers."""
        found = self.study.groups(variant)
        if isinstance(found, str):
            self.results.fail(rows, found)
            return
        groups = tuple(group.upright() for group in found)
        layers = sum(group.layers for group in groups)
        if layers == 1 and self._compiles(rows):
            rows = self._read_compiled(key, rows, variant, groups[0], [])
        for piece in _pieces(rows, max(1, PIECE // layers)):
            self._read_piece(piece, variant, functools.partial(_always, groups))

    def _read_shapes(self, key: tuple[int, ...], rows: Column, variant: Variant) -> None:
        """Rows that run a product each in its own shape."""
        laws = self.study.laws(variant)
        which = laws.sort({name: self._floats(name, rows) for name in laws.names}, self._kinds(laws, rows))
        for number in np.flatnonzero(np.bincount(which)).tolist():
            law = laws.laws[number]
            mine = rows[which == number]
            if law.first.group is None:
                self._explain(mine, laws, law)
                continue
            if self._compiles(mine):
                axes = self._indices(mine)
                sources = [self._source(name, axes) for name in laws.free]
                kinds = self._kinds(laws, mine)
                sources += [(table, kinds) for table in law.tables]
                mine = self._read_compiled((*key, number), mine, variant, law, sources)
            for piece in _pieces(mine, PIECE):
                self._read_piece(piece, variant, functools.partial(self._taken_shapes, laws, law))

    def _kinds(self, laws: Laws, rows: Column) -> Column:
        """Kind of each row's shape."""
        kinds: Column = laws.kind_of[self._codes("k", rows)] if len(laws.kind_of) else np.zeros(len(rows), np.int64)
        return kinds

    def _taken_shapes(self, laws: Laws, law: Law, rows: Column) -> tuple[Group, ...]:
        """Plan of each row's shape."""
        return (law.at(law.inputs([self._floats(name, rows) for name in laws.free], self._kinds(laws, rows))),)

    def _explain(self, rows: Column, laws: Laws, law: Law) -> None:
        """Say why shapes have no plan."""
        if law.first.reason:
            self.results.fail(rows, law.first.reason)
            return
        shapes, place = np.unique(
            np.stack([self._floats(name, rows) for name in laws.names], axis=1), axis=0, return_inverse=True
        )
        for number, shape in enumerate(shapes.astype(np.int64).tolist()):
            reason = laws.reason(dict(zip(laws.names, shape, strict=True)))
            self.results.fail(rows[place.reshape(-1) == number], reason)

    def _compiles(self, rows: Column) -> bool:
        """Whether a compiled loop pays, for these rows and their like in other blocks."""
        return len(rows) * (self.study.rows / self.count) >= COMPILED_FROM

    def _indices(self, rows: Column) -> list[Column]:
        return [np.ascontiguousarray(axis[rows], np.int64) for axis in self.places.axes]

    def _source(self, path: str, indices: Sequence[Column]) -> tuple[Column, Column]:
        axis, values = self.study.space.fields[path]
        return values.floats, indices[axis]

    def _read_compiled(
        self,
        key: tuple[int, ...],
        rows: Column,
        variant: Variant,
        layer: Law | Group,
        shapes: Sequence[tuple[Column, Column]],
    ) -> Column:
        """Read rows by a compiled loop; return those that can not run."""
        unpriced = self._unpriced(rows, variant)
        bad, rows = rows[unpriced], rows[~unpriced]
        if unpriced.any():
            shapes = [(table, index[~unpriced]) for table, index in shapes]
        if not rows.size:
            return bad
        recorded = self.study.recording(key, variant, layer)
        verdict = (layer.group if isinstance(layer, Law) else layer).verdict
        indices = self._indices(rows)
        sources = [self._source(path, indices) for path in self.study.columns]
        sources += shapes
        for varying, columns in recorded.priced:
            place = self._combination(rows, varying)
            sources += [(column, place) for column in columns]
        results = self.results
        results.verdict[rows] = VERDICTS.index(verdict)
        misfits = recorded.read(sources, {**results.numbers, "bound": results.bound}, rows)
        return np.concatenate([bad, misfits])

    def _unpriced(self, rows: Column, variant: Variant) -> Column:
        """Whether some buffer of each row can not be built."""
        found = np.zeros(len(rows), bool)
        for varying, _, reasons in variant.tables.values():
            missing = np.array([reason is not None for reason in reasons])
            if missing.any():
                found |= missing[self._combination(rows, varying)]
        return found

    def _read_piece(self, rows: Column, variant: Variant, groups_of: Callable[[Column], tuple[Group, ...]]) -> None:
        """Read rows by numpy."""
        groups = groups_of(rows)
        ready = self._rows(rows, variant, groups)
        bad = np.zeros(len(rows), bool)
        for places, reason in self._unfit(rows, ready, variant):
            fresh = places[~bad[places]]
            bad[places] = True
            self.results.fail(rows[fresh], reason)
        if bad.any():
            if not bad.all():
                self._read_piece(rows[~bad], variant, groups_of)
            return
        results = self.results
        for name, value in ready.read().items():
            (results.bound if name == "bound" else results.numbers[name])[rows] = value
        results.verdict[rows] = max((VERDICTS.index(group.verdict) for group in groups), default=0)

    def _rows(self, rows: Column, variant: Variant, groups: tuple[Group, ...]) -> Rows:
        columns = {path: self._floats(path, rows) for path in self.study.columns}
        machine = of_columns(variant.accelerator, columns) if columns else variant.accelerator
        prices = None
        if self.study.costs:
            found: dict[tuple[Any, ...], SramCost] = {}
            for name, (varying, table, _) in variant.tables.items():
                memory = getattr(machine.memories, name)
                key = key_of(memory.capacity_bytes, memory.bank_width_bits, memory.banks)
                if table is not None:
                    found[key] = self._priced(table, rows, varying)
            prices = Prices(variant.technology, found)
        return Rows(machine, groups, prices, len(rows))

    def _priced(self, table: SramCost, rows: Column, varying: tuple[str, ...]) -> SramCost:
        """Prices of each row's buffer."""
        if not varying:
            return table
        places = self._combination(rows, varying)
        return with_columns(table, {name: column[places] for name, column in columns_of(table).items()})

    def _unfit(self, rows: Column, ready: Rows, variant: Variant) -> Iterator[tuple[Column, str]]:
        """Rows that can not run, by their places, and why."""
        for varying, _, reasons in variant.tables.values():
            if any(reason is not None for reason in reasons):
                place = np.broadcast_to(self._combination(rows, varying), len(rows))
                for number, reason in enumerate(reasons):
                    if reason is not None and (bad := np.flatnonzero(place == number)).size:
                        yield bad, reason
        yield from ready.misfits()

    def _read_chains(self, rows: Column, variant: Variant) -> None:
        """Rows of a network whose layers depend on one another, by what stays on chip."""
        if len(rows) < _FEW:
            self._read_alone(rows, variant)
            return
        lowered = self.study.lowered(variant)
        if isinstance(lowered, str):
            self.results.fail(rows, lowered)
            return
        for piece in _pieces(rows, PIECE):
            machine = of_columns(variant.accelerator, {path: self._floats(path, piece) for path in self.study.columns})
            for plans, places in chains(self.study.network, lowered, machine, len(piece)):
                if plans is None or len(places) < _FEW:
                    self._read_alone(piece[places], variant)
                else:
                    groups = tuple(map(Group.of, plans))
                    self._read_piece(piece[places], variant, functools.partial(_always, groups))

    def _read_alone(self, rows: Column, variant: Variant) -> None:
        """Rows of a network one by one."""
        study, results = self.study, self.results
        fields = {path: (study.space.values(path), self._codes(path, slice(None))) for path in study.space.fields}
        for row in rows.tolist():
            changes = {path.replace(".", "__"): values[codes[row]] for path, (values, codes) in fields.items()}
            try:
                result = simulate(study.network, variant.scheme, study.accelerator.replace(**changes), numerics=False)
            except ValueError as error:
                results.fail(np.array([row]), str(error))
                continue
            totals = result.totals()
            for name, column in results.numbers.items():
                column[row] = totals[name]
            results.verdict[row] = VERDICTS.index(totals["verdict"])
            cycles = [
                sum(layer.timing.total_cycles for layer in result.layers if layer.timing.bound == bound)
                for bound in BOUNDS
            ]
            results.bound[row] = int(np.argmax(cycles))


def _pieces(rows: Column, size: int) -> Iterator[Column]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _always(groups: tuple[Group, ...], _: Column) -> tuple[Group, ...]:
    """Give layers that do not depend on rows."""
    return groups
