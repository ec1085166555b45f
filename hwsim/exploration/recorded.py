"""Rows of one variant and one law of plans, read by a compiled loop in place of numpy's passes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.laws import Law
from hwsim.exploration.loops import STRIP, Loop
from hwsim.exploration.prices import Prices, columns_of, key_of, with_columns
from hwsim.exploration.readings import COUNTS, Rows
from hwsim.exploration.variants import of_columns
from hwsim.timing import Machine
from hwsim.timing.symbols import Record
from hwsim.timing.tiling import tile_needs

if TYPE_CHECKING:
    from hwsim.exploration.columns import Group
    from hwsim.exploration.variants import Variant

Column = npt.NDArray[Any]

MISFIT = "misfit"


class Recorded:
    """What `Rows.read` says of a layer, recorded once with a symbol for every column.

    Parameters
    ----------
    variant
        Of the rows.
    layer
        A law over shapes, or one layer of one shape.
    paths
        Fields of the accelerator that are columns.

    Attributes
    ----------
    priced : [(fields, columns)]
        Prices of buffers whose sizes vary, over all combinations of the fields' values.
    """

    def __init__(self, variant: Variant, layer: Law | Group, paths: Sequence[str]) -> None:
        self._of = layer.reading if isinstance(layer, Law) else layer
        record = Record()
        machine = of_columns(variant.accelerator, {path: record.column() for path in paths})
        if isinstance(layer, Law):
            layer = layer.at([record.column() for _ in range(layer.reading.path.record.inputs)])
        self.priced: list[tuple[tuple[str, ...], list[Column]]] = []
        found = {}
        for name, (varying, table, _) in variant.tables.items():
            if table is None:
                continue
            memory = getattr(machine.memories, name)
            cost = table
            if varying:
                columns = columns_of(table)
                cost = with_columns(table, {field: record.column() for field in columns})
                self.priced.append((varying, list(columns.values())))
            found[key_of(memory.capacity_bytes, memory.bank_width_bits, memory.banks)] = cost
        rows = Rows(machine, (layer,), Prices(variant.technology, found) if variant.tables else None, STRIP)
        small = [bits > room for bits, room in tile_needs(layer.work, Machine.of(machine)).values()]
        results = {**rows.read(), MISFIT: functools.reduce(lambda one, other: one | other, small)}
        self.loop = Loop(record, results, frozenset(COUNTS))

    def is_of(self, layer: Law | Group) -> bool:
        """Tell whether this was recorded of a layer, or of a law that has looked up the same numbers since."""
        return self._of is (layer.reading if isinstance(layer, Law) else layer)

    def read(self, sources: Sequence[tuple[Column, Column]], out: Mapping[str, Column], rows: Column) -> Column:
        """Read rows into the columns of `out`.

        Parameters
        ----------
        sources
            Values and the place among them of each row: of the paths, the law's inputs, and the prices.
        out
            Columns by name.
        rows
            Places in these columns.

        Returns
        -------
        misfits
            Those of `rows` that do not fit the buffers; their numbers mean nothing.
        """
        small = {name: np.empty(len(out["bound"])) for name in ("bound", MISFIT)}
        tables, indices = [table for table, _ in sources], [index for _, index in sources]
        self.loop.run(tables, indices, [{**out, **small}[name] for name in self.loop.names], rows)
        out["bound"][rows] = small["bound"][rows]
        misfits: Column = rows[small[MISFIT][rows] > 0]
        return misfits
