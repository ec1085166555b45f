"""Closed form of many layers at once: those that differ in numbers only are one column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from hwsim.plan import Stored
from hwsim.timing.cycles import BOUNDS, Schedule, Timing, Traffic, read_time
from hwsim.timing.tiling import require_tiles
from hwsim.timing.work import Machine, Work

_FEWEST = 5
"""Layers that are read faster as a column than one by one."""
_WHOLE = ("compute_cycles", "total_cycles", "stall_cycles")
_REAL = ("utilization", "dram_cycles", "port_cycles", "exposed_cycles", "busy_cycles", "first_weight_cycles")
_SCHEDULE = tuple(field.name for field in fields(Schedule))
_STORED = tuple(field.name for field in fields(Stored))
_NUMBERS = tuple(
    field.name for field in fields(Work) if field.name not in {"name", "segments", "lhs", "rhs", "out", "scans"}
)


def closed_forms(works: Sequence[Work], machine: Machine) -> list[Timing]:
    """Cycles of several layers on one machine, each as `read_time` has them.

    Raises
    ------
    ValueError
        If a buffer can not hold the tile of one fold.
    """
    groups: dict[Any, list[int]] = {}
    for place, work in enumerate(works):
        require_tiles(work, machine.beside(work))
        groups.setdefault(_branches(work), []).append(place)
    found: dict[int, Timing] = {}
    for places in groups.values():
        mine = [works[place] for place in places]
        if len(mine) < _FEWEST:
            found |= {place: read_time(work, machine.beside(work)) for place, work in zip(places, mine, strict=True)}
        else:
            column = _column(mine)
            found |= zip(places, _rows(read_time(column, machine.beside(column)), len(mine)), strict=True)
    return [found[place] for place in range(len(works))]


def _branches(work: Work) -> tuple[Any, ...]:
    """Say what the formulas branch on; the rest may differ from row to row."""
    scans = tuple((scan.source_bits, scan.of_lhs) for scan in work.scans)
    return work.rhs_is_weight, work.lhs_in_place, work.lhs.dram_bits == 0, work.sum_bits, scans


def _column(works: Sequence[Work]) -> Work:
    """One work with an array for each number in which these differ."""
    kinds = max(len(work.segments) for work in works)
    # A kind of segment that a layer lacks occurs in it no time.
    padded = [work.segments + ((0, 0),) * (kinds - len(work.segments)) for work in works]
    lhs, rhs, out = (_stored([getattr(work, name) for work in works]) for name in ("lhs", "rhs", "out"))
    return replace(
        works[0],
        **{name: _number([getattr(work, name) for work in works]) for name in _NUMBERS},
        segments=tuple(tuple(map(_number, zip(*kind, strict=True))) for kind in zip(*padded, strict=True)),
        lhs=lhs,
        rhs=rhs,
        out=out,
        scans=tuple(
            replace(
                same[0],
                elements=_number([one.elements for one in same]),
                stored=_stored([one.stored for one in same]),
            )
            for same in zip(*(work.scans for work in works), strict=True)
        ),
    )


def _stored(several: Sequence[Stored]) -> Stored:
    return Stored(**{name: _number([getattr(one, name) for one in several]) for name in _STORED})


def _number(values: Sequence[Any]) -> Any:
    """One number for all rows, or an array of them."""
    first = values[0]
    return first if all(value == first for value in values) else np.array(values, np.float64)


def _rows(timing: Timing, count: int) -> list[Timing]:
    """Take a column apart, into Python numbers as one design point has them."""

    def whole(value: Any) -> list[int]:
        return list(map(int, value.tolist())) if isinstance(value, np.ndarray) else [value] * count

    def real(value: Any) -> list[float]:
        return value.tolist() if isinstance(value, np.ndarray) else [value] * count

    schedules = [
        Schedule(*row) for row in zip(*(whole(getattr(timing.schedule, name)) for name in _SCHEDULE), strict=True)
    ]
    traffic = [timing.dram, *timing.buffers.values()]
    moved = [list(map(Traffic, whole(one.read_bits), whole(one.write_bits))) for one in traffic]
    repeats = [whole(value) for value in timing.repeats.values()]
    numbers = [whole(getattr(timing, name)) for name in _WHOLE], [real(getattr(timing, name)) for name in _REAL]
    bounds = whole(timing.bound) if isinstance(timing.bound, np.ndarray) else [BOUNDS.index(timing.bound)] * count
    return [
        Timing(
            schedule=schedules[row],
            bound=BOUNDS[bounds[row]],
            dram=moved[0][row],
            buffers={name: one[row] for name, one in zip(timing.buffers, moved[1:], strict=True)},
            repeats={per: one[row] for per, one in zip(timing.repeats, repeats, strict=True)},
            **{name: one[row] for name, one in zip(_WHOLE, numbers[0], strict=True)},
            **{name: one[row] for name, one in zip(_REAL, numbers[1], strict=True)},
        )
        for row in range(count)
    ]
