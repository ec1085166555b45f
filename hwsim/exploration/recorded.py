"""Rows of one variant and one structure of plans, read by a compiled loop in place of numpy's passes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.columns import of_columns
from hwsim.exploration.loops import STRIP, Loop
from hwsim.exploration.readings import COUNTS, Rows, Table, columns_of, combination, with_columns
from hwsim.exploration.variants import Prices, key_of
from hwsim.timing import Machine
from hwsim.timing.symbols import Record
from hwsim.timing.tiling import tile_needs

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.exploration.variants import Group
    from hwsim.technology import Technology

Column = npt.NDArray[Any]

MISFIT = "misfit"


class Recorded:
    """What `Rows.read` says of a layer, recorded once with a symbol for every column.

    Parameters
    ----------
    accelerator, technology, tables
        Of the variant; `tables` are empty where costs are not asked for.
    group
        One layer, whose columns go over its shapes.
    paths
        Fields of the accelerator that are columns.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        technology: Technology,
        tables: Mapping[str, Table],
        group: Group,
        paths: Sequence[str],
    ) -> None:
        self.group = group
        record = Record()
        machine = of_columns(accelerator, {path: record.column() for path in paths})
        shapes = group.columns
        self.shapes = np.stack(shapes) if shapes else np.empty((0, 1))
        layer = group.rows_by(lambda _: record.column())
        self.priced: list[tuple[tuple[str, ...], Column]] = []
        found = {}
        for name, (varying, table, _) in tables.items():
            if table is None:
                continue
            memory = getattr(machine.memories, name)
            cost = table
            if varying:
                columns = columns_of(table)
                cost = with_columns(table, {field: record.column() for field in columns})
                self.priced.append((varying, np.stack(list(columns.values()))))
            found[key_of(memory.capacity_bytes, memory.bank_width_bits, memory.banks)] = cost
        rows = Rows(machine, (layer,), Prices(technology, found) if tables else None, STRIP)
        small = [bits > room for bits, room in tile_needs(layer.work, Machine.of(machine)).values()]
        results = {**rows.read(), MISFIT: functools.reduce(lambda one, other: one | other, small)}
        self.paths = paths
        self.loop = Loop(record, results, frozenset(COUNTS))

    def read(
        self,
        numbers: Mapping[str, Column],
        codes: Mapping[str, Column],
        lengths: Mapping[str, int],
        places: Column,
        out: Mapping[str, Column],
        rows: Column,
    ) -> Column:
        """Read rows into the columns of `out`.

        Parameters
        ----------
        numbers, codes, lengths
            By field: its values, the place among them of every row, and how many there are.
        places
            Shape of each of `rows`.

        Returns
        -------
        misfits
            Those of `rows` that do not fit the buffers; their numbers mean nothing.
        """
        tables, indices = [], []
        for path in self.paths:
            tables.append(numbers[path])
            indices.append(codes[path][rows].astype(np.int64))
        priced = [(combination(codes, lengths, varying, rows), table) for varying, table in self.priced]
        for which, table in ((places, self.shapes), *priced):
            index = which.astype(np.int64)
            tables += list(table)
            indices += [index] * len(table)
        small = {name: np.empty(len(out["bound"])) for name in ("bound", MISFIT)}
        self.loop.run(tables, indices, [{**out, **small}[name] for name in self.loop.names], rows)
        out["bound"][rows] = small["bound"][rows]
        misfits: Column = rows[small[MISFIT][rows] > 0]
        return misfits
