"""Blocks of rows of a design space: sorted by what groups them, read in pieces that stay in the cache."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.columns import of_columns
from hwsim.exploration.fields import COLUMNS, SIZES
from hwsim.exploration.readings import Rows, Table, columns_of, combination, priced_buffers, with_columns
from hwsim.exploration.results import VERDICTS, Results, categories, listed
from hwsim.exploration.variants import Group, Plans, Prices, key_of, plan_layers, sensitive_to_depth, sort_plans
from hwsim.network import plan_network
from hwsim.simulation import simulate
from hwsim.technology import Technology
from hwsim.timing.cycles import BOUNDS

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.accelerator import Accelerator
    from hwsim.exploration.recorded import Recorded
    from hwsim.exploration.spaces import Space
    from hwsim.technology.memory import SramCost
    from quant import Scheme
    from workloads import Network

Column = npt.NDArray[Any]

# Rows of a design space that share formulas from which on recording and compiling them, half a second, pays.
COMPILED_FROM = 150_000

# Numbers that are read at once: what a formula keeps at hand then stays in the second-level cache.
PIECE = 16384


@dataclass(frozen=True)
class Variant:
    """What rows share that differ in columns only.

    Parameters
    ----------
    tables
        Prices of the buffers, see `priced_buffers`; empty where costs are not asked for.
    alone
        Whether the layers of a point depend on one another, so that every point is read alone.
    """

    scheme: Scheme
    accelerator: Accelerator
    technology: Technology
    tables: Mapping[str, Table]
    alone: bool


class Sweep:
    """A design space and what reads it."""

    def __init__(
        self, network: Network, schemes: Sequence[Scheme], accelerator: Accelerator, space: Space, *, costs: bool
    ) -> None:
        self.network, self.schemes, self.accelerator = network, schemes, accelerator
        self.space, self.costs = space, costs
        self.values = space.values
        self.sizes = [name for name in SIZES if name in self.values]
        self.depth = any(sensitive_to_depth(network.layers, scheme) for scheme in schemes)
        # Where plans depend on what an array adds natively, its rows group the points too.
        grouping = {"array.rows"} if self.depth else set()
        self.columns = [path for path in space.fields if path in COLUMNS - grouping]
        self.grouped = [path for path in space.fields if path not in self.columns and path not in self.sizes]
        self.numbers = {path: np.array(self.values[path], np.float64) for path in self.columns}
        self.variants: dict[tuple[int, ...], Variant | str] = {}
        self.lengths = {path: len(values) for path, values in self.values.items()}
        self.planned: dict[Any, Plans] = {}
        self.recorded: dict[tuple[int, ...], Recorded] = {}
        self.shapes: Column = np.zeros(0, np.int64)

    @property
    def rows(self) -> int:
        """Number of points."""
        return len(self.schemes) * self.space.rows

    def describe(self) -> dict[str, Any]:
        """Say what tells this space from others."""
        return {
            "workload": self.network.name,
            "schemes": [scheme.model_dump(mode="json") for scheme in self.schemes],
            "accelerator": self.accelerator.model_dump(mode="json"),
            "space": self.space.digest(),
            "costs": self.costs,
            "rows": self.rows,
        }

    def results(self, start: int, stop: int) -> Results:
        """Room for the results of rows `start` to `stop`."""
        return Results(start, stop, costs=self.costs)

    def read(self, results: Results, start: int, stop: int) -> None:
        """Read the rows from `start` to `stop` into `results`."""
        scheme = np.arange(start, stop) // self.space.rows
        block = _Block(self, scheme, self._codes(start, stop), results.part(start, stop))
        with np.errstate(all="ignore"):
            block.read()

    def frame(self, results: Results) -> pd.DataFrame:
        """Results beside what varies."""
        start, stop = results.start, results.stop
        scheme = np.arange(start, stop) // self.space.rows
        codes = self._codes(start, stop)
        columns = {"scheme": categories(scheme, [one.name for one in self.schemes])}
        for path in self.space.fields:
            columns[path] = listed(self.values[path], codes.pop(path))
        return results.frame(columns)

    def _codes(self, start: int, stop: int) -> dict[str, Column]:
        """Places among distinct values; rows of another scheme start over."""
        if not self.space.fields:
            return {}
        rows = self.space.rows
        pieces, at = [], start
        while at < stop:
            first = at % rows
            last = min(first + stop - at, rows)
            pieces.append(self.space.codes(first, last))
            at += last - first
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def variant(self, scheme: int, places: tuple[int, ...]) -> Variant | str:
        """Accelerator and technology of a group of rows, or why there are none."""
        key = (scheme, *places)
        if key not in self.variants:
            self.variants[key] = self._variant(self.schemes[scheme], places)
        return self.variants[key]

    def _variant(self, scheme: Scheme, places: tuple[int, ...]) -> Variant | str:
        changes = {
            path.replace(".", "__"): self.values[path][place] for path, place in zip(self.grouped, places, strict=True)
        }
        try:
            accelerator = self.accelerator.replace(**changes)
            technology = Technology.load(accelerator.technology)
            tables = {}
            if self.costs:
                technology.dram(accelerator.memories.dram.type)
                tables = priced_buffers(technology, accelerator, self.values)
        except ValueError as error:
            return str(error)
        memories = accelerator.memories
        # What one layer leaves on chip for the next depends on every size.
        alone = len(self.network.layers) > 1 and (memories.keeps_results or memories.prefetches_weights)
        return Variant(scheme, accelerator, technology, tables, alone)

    def plans(self, variant: Variant, shapes: Column) -> Plans:
        """Plans of the layers, or of the one layer in the shapes of a block."""
        if self.sizes and not np.array_equal(shapes, self.shapes):
            self.planned, self.shapes = {}, shapes
        machine = variant.accelerator
        array = machine.array
        # All that a plan reads of an accelerator.
        depth = array.native_depth if self.depth else 0
        key = (variant.scheme.name, depth, array.dot_depth, machine.accumulator, machine.requantizer)
        if key not in self.planned:
            self.planned[key] = self._plans(variant, machine, shapes)
        return self.planned[key]

    def recording(self, key: tuple[int, ...], variant: Variant, group: Group) -> Recorded:
        """Formulas of a variant and one of its groups of plans, recorded once while the plans are the same."""
        from hwsim.exploration.recorded import Recorded  # noqa: PLC0415 a compiler, which small spaces do not need

        known = self.recorded.get(key)
        if known is None or known.group is not group:
            known = Recorded(variant.accelerator, variant.technology, variant.tables, group, self.columns)
            self.recorded[key] = known
        return known

    def _plans(self, variant: Variant, machine: Accelerator, shapes: Column) -> Plans:
        if not self.sizes:
            try:
                return sort_plans(plan_network(self.network, variant.scheme, machine), {})
            except ValueError as error:
                return sort_plans([], {0: str(error)})
        layer = self.network.layers[0]
        lengths = [len(self.values[name]) for name in self.sizes]
        places = np.unravel_index(shapes, lengths)
        sized = []
        for row in zip(*(place.tolist() for place in places), strict=True):
            changes = {name: self.values[name][place] for name, place in zip(self.sizes, row, strict=True)}
            sized.append(replace(layer, sizes={**layer.sizes, **changes}))
        return plan_layers(sized, variant.scheme, machine)


class _Block:
    """Rows at hand and their results."""

    def __init__(self, sweep: Sweep, scheme: Column, codes: Mapping[str, Column], results: Results) -> None:
        self.sweep, self.scheme, self.codes, self.results = sweep, scheme, codes, results
        self.count = results.stop - results.start
        self.out, self.bound, self.verdict = results.numbers, results.bound, results.verdict
        self._fail = results.fail

    def read(self) -> None:
        """Read all rows, variant by variant."""
        sweep = self.sweep
        shapes, shape_of = np.zeros(0, np.int64), None
        if sweep.sizes:
            lengths = [len(sweep.values[name]) for name in sweep.sizes]
            whole = np.ravel_multi_index([self.codes[name] for name in sweep.sizes], lengths)
            shapes, shape_of = np.unique(whole, return_inverse=True)
        for key, rows in self._variants():
            variant = sweep.variant(key[0], key[1:])
            if isinstance(variant, str):
                self._fail(rows, variant)
            elif variant.alone:
                self._read_alone(rows, variant)
            else:
                plans = sweep.plans(variant, shapes)
                self._read_variant(key, rows, variant, plans, shape_of)

    def _variants(self) -> Iterator[tuple[tuple[int, ...], Column]]:
        """Rows by scheme and grouping fields."""
        sweep = self.sweep
        lengths = [len(sweep.schemes), *(len(sweep.values[path]) for path in sweep.grouped)]
        code = np.ravel_multi_index([self.scheme, *(self.codes[path] for path in sweep.grouped)], lengths)
        order = np.argsort(code, kind="stable")
        ranked = code[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            places = np.unravel_index(ranked[start], lengths)
            yield tuple(int(place) for place in places), order[start:stop]

    def _read_variant(
        self, key: tuple[int, ...], rows: Column, variant: Variant, plans: Plans, shape_of: Column | None
    ) -> None:
        if shape_of is None:
            if plans.reasons:
                self._fail(rows, next(iter(plans.reasons.values())))
                return
            groups = tuple(group.upright() for group in plans.groups)
            verdict = max((VERDICTS.index(group.verdict) for group in groups), default=0)
            layers = sum(group.layers for group in groups)
            if layers == 1:
                rows = self._read_compiled(key, rows, np.zeros(len(rows), np.intp), variant, groups[0])
            for piece in _pieces(rows, max(1, PIECE // layers)):
                self._read_piece(piece, variant, groups, verdict)
            return
        mine = shape_of[rows]
        which = plans.places[0][mine]
        for shape, reason in plans.reasons.items():
            self._fail(rows[mine == shape], reason)
        for number, group in enumerate(plans.groups):
            chosen = np.flatnonzero(which == number)
            left = self._read_compiled((*key, number), rows[chosen], plans.places[1][mine[chosen]], variant, group)
            if len(left) < len(chosen):
                chosen = chosen[np.isin(rows[chosen], left)]
            for piece in _pieces(chosen, PIECE):
                taken = group.rows(plans.places[1][mine[piece]])
                self._read_piece(rows[piece], variant, (taken,), VERDICTS.index(group.verdict))

    def _read_compiled(
        self, key: tuple[int, ...], rows: Column, places: Column, variant: Variant, group: Group
    ) -> Column:
        """Read rows by a compiled loop where it pays; return those that are left: all, or those that can not run."""
        sweep = self.sweep
        if len(rows) * (sweep.rows / self.count) < COMPILED_FROM:
            return rows
        unpriced = np.zeros(len(rows), bool)
        for varying, _, reasons in variant.tables.values():
            missing = np.array([reason is not None for reason in reasons])
            if missing.any():
                unpriced |= missing[self._combination(rows, varying)] if varying else True
        bad = rows[unpriced]
        if bad.size:
            rows, places = rows[~unpriced], places[~unpriced]
        if rows.size:
            loop = sweep.recording(key, variant, group)
            self.verdict[rows] = VERDICTS.index(group.verdict)
            out: dict[str, Column] = {**self.out, "bound": self.bound}
            misfits = loop.read(sweep.numbers, self.codes, sweep.lengths, places, out, rows)
            bad = np.concatenate([bad, misfits])
        return bad

    def _read_piece(self, rows: Column, variant: Variant, groups: tuple[Group, ...], verdict: int) -> None:
        sweep = self.sweep
        columns = {path: sweep.numbers[path][self.codes[path][rows]] for path in sweep.columns}
        ready = self._rows(rows, variant, groups, columns)
        bad = np.zeros(len(rows), bool)
        for places, reason in self._unfit(rows, ready, variant):
            fresh = places[~bad[places]]
            bad[places] = True
            self._fail(rows[fresh], reason)
        if bad.any():
            good = np.flatnonzero(~bad)
            if good.size:
                some = functools.partial(np.take, indices=good)
                left = tuple(group.changed(some) for group in groups) if sweep.sizes else groups
                self._read_piece(rows[good], variant, left, verdict)
            return
        for name, value in ready.read().items():
            if name == "bound":
                self.bound[rows] = value
            else:
                self.out[name][rows] = value
        self.verdict[rows] = verdict

    def _rows(self, rows: Column, variant: Variant, groups: tuple[Group, ...], columns: dict[str, Column]) -> Rows:
        machine = of_columns(variant.accelerator, columns) if columns else variant.accelerator
        prices = None
        if self.sweep.costs:
            found: dict[tuple[Any, ...], SramCost] = {}
            for name, (varying, table, _) in variant.tables.items():
                memory = getattr(machine.memories, name)
                key = key_of(memory.capacity_bytes, memory.bank_width_bits, memory.banks)
                if table is not None:
                    found[key] = self._taken(table, rows, varying)
            prices = Prices(variant.technology, found)
        return Rows(machine, groups, prices, len(rows))

    def _taken(self, table: SramCost, rows: Column, varying: tuple[str, ...]) -> SramCost:
        """Prices of each row's buffer."""
        if not varying:
            return table
        places = self._combination(rows, varying)
        return with_columns(table, {name: column[places] for name, column in columns_of(table).items()})

    def _combination(self, rows: Column, varying: tuple[str, ...]) -> Column:
        return combination(self.codes, self.sweep.lengths, varying, rows)

    def _unfit(self, rows: Column, ready: Rows, variant: Variant) -> Iterator[tuple[Column, str]]:
        """Rows that can not run, by their places, and why."""
        for varying, _, reasons in variant.tables.values():
            if any(reason is not None for reason in reasons):
                place = self._combination(rows, varying) if varying else np.zeros(len(rows), np.intp)
                for number, reason in enumerate(reasons):
                    if reason is not None and (bad := np.flatnonzero(place == number)).size:
                        yield bad, reason
        yield from ready.misfits()

    def _read_alone(self, rows: Column, variant: Variant) -> None:
        """Rows whose layers depend on one another, one by one."""
        sweep = self.sweep
        for row in rows.tolist():
            changes = {
                path.replace(".", "__"): sweep.values[path][self.codes[path][row]]
                for path in (*sweep.grouped, *sweep.columns)
            }
            try:
                result = simulate(sweep.network, variant.scheme, sweep.accelerator.replace(**changes), numerics=False)
            except ValueError as error:
                self._fail(np.array([row]), str(error))
                continue
            totals = result.totals()
            for name, column in self.out.items():
                column[row] = totals[name]
            self.verdict[row] = VERDICTS.index(totals["verdict"])
            cycles = [
                sum(layer.timing.total_cycles for layer in result.layers if layer.timing.bound == bound)
                for bound in BOUNDS
            ]
            self.bound[row] = int(np.argmax(cycles))


def _pieces(rows: Column, size: int) -> Iterator[Column]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
