"""What a comparison says, in sentences computed from its frame by stated rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .columns import Row, arrange, label_of, numbers, text_column
from .scatter import error_column, pareto
from .units import format_quantity

LEAST_DB = 20.0
# In the order of the sentences: the latency at equal area follows the latency.
_COSTS = {"energy_pj": "Least energy", "area_um2": "Smallest area", "latency_us": "Shortest latency"}


@dataclass(frozen=True)
class _Comparison:
    """The arranged frame and the questions that sentences ask of it."""

    frame: pd.DataFrame
    rows: Sequence[Row]
    typeset: bool

    def values(self, column: str | None) -> tuple[float, ...]:
        if column is None or column not in self.frame:
            return (math.nan,) * len(self.rows)
        return numbers(self.frame[column])

    def show(self, column: str, index: int) -> str:
        return format_quantity(column, self.values(column)[index], typeset=self.typeset)

    def costs(self, index: int, columns: Sequence[str] = ("latency_us", "energy_pj", "area_um2")) -> str:
        """List the costs of one scheme that are there: ``1,311 us, 602 uJ and 2.84 mm2``."""
        return _join([self.show(name, index) for name in columns if not math.isnan(self.values(name)[index])])

    def cheapest(self, column: str, among: Sequence[int]) -> int | None:
        values = self.values(column)
        present = [index for index in among if not math.isnan(values[index])]
        return min(present, key=values.__getitem__, default=None)

    def array(self, index: int) -> str:
        """Say how large an array fits the baseline's area: `` with an array of 23x23``."""
        size = text_column(self.frame, "equal_area_array")[index]
        return f" with an array of {size}" if size else ""

    @property
    def baseline(self) -> int | None:
        return next((index for index, row in enumerate(self.rows) if row.baseline), None)

    def against(self, column: str, index: int) -> str:
        """Compare with the baseline: ``, 7.5 times less than fp32``; empty without one."""
        base = self.baseline
        if base is None or base == index:
            return ""
        own, other = self.values(column)[index], self.values(column)[base]
        if not (own > 0 and other > 0) or math.isclose(own, other, rel_tol=5e-4):
            return ""
        name = self.rows[base].name
        if max(own, other) / min(own, other) < 1.1:
            return f", {abs(1 - own / other):.1%} {'less' if own < other else 'more'} than {name}"
        return f", {max(own, other) / min(own, other):.3g} times {'less' if own < other else 'more'} than {name}"


def headlines(
    schemes: pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    *,
    least_db: float = LEAST_DB,
    typeset: bool = False,
) -> list[str]:
    """Say what the comparison shows: the best of each cost at a stated error, losses, refusals and repairs.

    Parameters
    ----------
    schemes
        One row a scheme, column ``scheme``; sentences about columns that are missing are left out.
    metadata
        ``baseline`` names the scheme that others are compared with; ``statements`` are further pairs of what is asked
        and the answer, which come last; ``cautions`` are such pairs that come first.
    least_db
        Error that a scheme must reach to be called best in cost, dB.
    typeset
        Use the micro sign and superscripts in units.

    Returns
    -------
    sentences
        In order of weight, without marks for the beginning or end of a list.
    """
    found = statements(schemes, metadata, least_db=least_db, typeset=typeset)
    return [f"{lead}: {text}" for lead, text in found]


def statements(
    schemes: pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    *,
    least_db: float = LEAST_DB,
    typeset: bool = False,
) -> list[tuple[str, str]]:
    """Return the sentences of `headlines` as pairs: what is asked, and the answer."""
    frame, rows = arrange(schemes, metadata or {})
    comparison = _Comparison(frame, rows, typeset)
    base = comparison.baseline
    start = [] if base is None or not comparison.costs(base) else [("Baseline", _takes(comparison, base) + ".")]
    return [
        *_given(metadata, "cautions"),
        *start,
        *_best(comparison, least_db),
        *_front(comparison),
        *_losses(comparison),
        *_refusals(comparison),
        *_given(metadata, "statements"),
    ]


def _given(metadata: Mapping[str, Any] | None, name: str) -> list[tuple[str, str]]:
    return [(str(lead), str(text)) for lead, text in (metadata or {}).get(name, ())]


def _takes(comparison: _Comparison, index: int) -> str:
    return f"{comparison.rows[index].name} takes {comparison.costs(index)}"


def _best(comparison: _Comparison, least_db: float) -> list[tuple[str, str]]:
    column = error_column(comparison.frame)
    if column is None:
        return []
    errors = comparison.values(column)
    among = [i for i, row in enumerate(comparison.rows) if errors[i] >= least_db and not row.baseline]
    rule = f"{least_db:g} dB of {label_of(column)} or more"
    if not among:
        return [(f"With {rule}", "no scheme.")]
    found = []
    base = comparison.baseline
    titles = {cost: f"{title} with {rule}" for cost, title in _COSTS.items()}
    if base is not None:
        titles["equal_area_latency_us"] = f"The same in the area of {comparison.rows[base].name}"
    for cost, title in titles.items():
        best = comparison.cheapest(cost, among)
        if best is not None:
            array = comparison.array(best) if cost.startswith("equal_area") else ""
            value = f"{comparison.show(cost, best)}{comparison.against(cost, best)}"
            name = comparison.rows[best].name
            found.append((title, f"{name}{array} ({value}), at {errors[best]:.1f} dB."))
    return found


def _front(comparison: _Comparison) -> list[tuple[str, str]]:
    column = error_column(comparison.frame)
    errors, energies = comparison.values(column), comparison.values("energy_pj")
    points = [i for i in range(len(errors)) if errors[i] > -math.inf and energies[i] > 0]
    if len(points) < 2:
        return []
    front = pareto([energies[i] for i in points], [errors[i] for i in points])
    names = [comparison.rows[points[k]].name for k in front]
    rule = "no other scheme is better in one and as good in the other"
    lead = f"Best trades of error for energy, {len(names)} of {len(points)}"
    return [(lead, f"{_join(names)} ({rule}).")]


def _losses(comparison: _Comparison) -> list[tuple[str, str]]:
    base = comparison.baseline
    if base is None:
        return []
    others = [i for i, row in enumerate(comparison.rows) if i != base]
    worse: list[str] = []
    asked: list[str] = []
    for cost, what in (("latency_us", "latency"), ("energy_pj", "energy"), ("area_um2", "area")):
        values = comparison.values(cost)
        if not values[base] > 0:
            continue
        asked.append(what)
        worse += [
            f"{comparison.rows[i].name} ({what} {values[i] / values[base]:.3g}x)"
            for i in others
            if values[i] > values[base] * (1 + 5e-4)
        ]
    lead = f"Costing more than {comparison.rows[base].name}"
    if worse:
        return [(lead, f"{_join(worse)}.")]
    return [(lead, f"no scheme, in {_join(asked, 'or')}.")] if asked and others else []


def _refusals(comparison: _Comparison) -> list[tuple[str, str]]:
    found = []
    errors = comparison.values(error_column(comparison.frame))
    for index, row in enumerate(comparison.rows):
        if row.verdict != "incompatible":
            continue
        why = ", as its witness in the table shows" if row.note else ""
        text = f"{row.name} cannot be dequantized after accumulation{why}."
        if row.note.startswith(f"{row.name}: "):  # no layer's witness, but what the machine lacks for this scheme
            text = f"{row.note}."
        following = index + 1
        if following < len(comparison.rows) and comparison.rows[following].depth > row.depth:
            cost = comparison.costs(following)
            reached = "" if math.isnan(errors[following]) else f", at {errors[following]:.1f} dB"
            text += f" Its repair {_takes(comparison, following)}{reached}." if cost else ""
        found.append(("Refused", text))
    return found


def _join(items: Sequence[str], word: str = "and") -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}" if items else ""
