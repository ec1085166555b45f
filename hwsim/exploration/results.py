"""Results of a design space by column: one row a point, with a reason in place of numbers where it can not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.cost.areas import PARTS as AREA_PARTS
from hwsim.cost.energies import PARTS as ENERGY_PARTS
from hwsim.exploration.readings import COUNTS
from hwsim.exploration.values import categories
from hwsim.timing.cycles import BOUNDS

if TYPE_CHECKING:
    import pandas as pd

Column = npt.NDArray[Any]

TIME = (*COUNTS, "utilization", "latency_us")
COSTS = (
    "energy_pj", "energy_low_pj", "energy_high_pj", *ENERGY_PARTS, "area_um2", *AREA_PARTS,
    "power_mw", "tops_per_w", "energy_delay_pj_s",
)  # fmt: skip
TRAFFIC = ("weight_bytes", "dram_read_bytes", "dram_write_bytes", "traffic_bytes")
VERDICTS = ("float", "once", "segmented")


class Results:
    """Columns for rows `start` to `stop`.

    Attributes
    ----------
    numbers
        By name, whole numbers as int64.
    bound, verdict, reason_of
        Places in `BOUNDS`, `VERDICTS` and among the reasons; no reason is -1.
    """

    def __init__(self, start: int, stop: int, *, costs: bool) -> None:
        count = stop - start
        self.start, self.stop = start, stop
        self.reason_of = np.full(count, -1, np.int32)
        self.reason_places: dict[str, int] = {}
        names = (*TIME, *(COSTS if costs else ()), *TRAFFIC)
        self.numbers: dict[str, Column] = {
            name: np.empty(count, np.int64 if name in COUNTS else np.float64) for name in names
        }
        self.bound, self.verdict = np.zeros(count, np.int8), np.zeros(count, np.int8)

    def part(self, start: int, stop: int) -> Results:
        """Give some of the rows, in the same memory."""
        part = object.__new__(Results)
        rows = slice(start - self.start, stop - self.start)
        part.start, part.stop = start, stop
        part.numbers = {name: column[rows] for name, column in self.numbers.items()}
        part.bound, part.verdict, part.reason_of = self.bound[rows], self.verdict[rows], self.reason_of[rows]
        part.reason_places = self.reason_places
        return part

    def fail(self, rows: Column, reason: str) -> None:
        """Give rows that have no reason yet this one."""
        place = self.reason_places.setdefault(reason, len(self.reason_places))
        fresh = rows[self.reason_of[rows] < 0]
        self.reason_of[fresh] = place

    def frame(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        """Join other columns and the results, in whose memory numbers go missing where a point can not run."""
        import pandas as pd  # noqa: PLC0415

        failed = self.reason_of >= 0
        rows = np.flatnonzero(failed)
        self.verdict[rows] = self.bound[rows] = -1
        joined = {**columns, "verdict": categories(self.verdict, list(VERDICTS))}
        for name, column in self.numbers.items():
            if rows.size:
                column[rows] = 0 if name in COUNTS else np.nan
            whole = name in COUNTS and rows.size
            joined[name] = pd.arrays.IntegerArray(column, failed.copy()) if whole else column
        joined["bound"] = categories(self.bound, list(BOUNDS))
        joined["reason"] = categories(self.reason_of, list(self.reason_places))
        return pd.DataFrame(joined, copy=False)
