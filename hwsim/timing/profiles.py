"""How other tools count: the cycles and utilizations that they would report for the same product and array.

SCALE-Sim (Samajdar et al., arXiv 1811.02883; PyPI package scalesim 3.0.0) counts ``F`` folds of ``P`` cycles and
reports the index of the last one, ``F P - 1``. Its `T` values stream past ``R`` rows and ``C`` columns:

================= ========================== ===================== ==================
dataflow          folds F                    cycles of a fold P    streamed T
================= ========================== ===================== ==================
output stationary ``ceil(m/R) ceil(n/C)``    ``k + R + C - 2``     ``k``
weight stationary ``ceil(k/R) ceil(n/C)``    ``m + 2 R + C - 2``   ``m``
input stationary  ``ceil(k/R) ceil(m/C)``    ``n + 2 R + C - 2``   ``n``
================= ========================== ===================== ==================

Its buffers hold everything and never stall (interface bandwidth ``CALC``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.timing.numbers import ceil_div

if TYPE_CHECKING:
    from hwsim.accelerator import Array


@dataclass(frozen=True)
class ScaleSimReport:
    """What SCALE-Sim's compute report says.

    Parameters
    ----------
    cycles
        ``Total Cycles``.
    utilization
        ``Overall Util %`` as a fraction: MACs over elements and reported cycles.
    mapping_efficiency
        ``Mapping Efficiency %`` as a fraction: elements that hold something, mean over folds.
    compute_utilization
        ``Compute Util %`` as a fraction: streamed values over the cycles of a fold, ``C - 1`` more where an operand
        is loaded first, times the mapping efficiency.
    """

    cycles: int
    utilization: float
    mapping_efficiency: float
    compute_utilization: float


def scalesim_report(m: int, k: int, n: int, array: Array) -> ScaleSimReport:
    """Report one product ``[m, k] x [k, n]`` as SCALE-Sim does.

    Raises
    ------
    ValueError
        If a size is not positive, if the array is one that SCALE-Sim does not know, or for the single product of one
        element, which it reports as 0 cycles and divides by.

    Examples
    --------
    >>> import hwsim
    >>> array = hwsim.Accelerator.load("edge-16x16").array.replace(rows=32, columns=32)
    >>> report = scalesim_report(64, 64, 64, array)
    >>> report.cycles, f"{100 * report.utilization:.4f}"
    (503, '50.8946')
    """
    for name, size in (("m", m), ("k", k), ("n", n)):
        if size < 1:
            msg = f"{name} must be 1 or more, not {size}"
            raise ValueError(msg)
    known = {"dot_depth": 1, "drain": "bus", "double_buffered": False}
    for name, value in known.items():
        if getattr(array, name) != value:
            msg = f"array.{name} must be {value} under the profile scalesim, not {getattr(array, name)}"
            raise ValueError(msg)
    rows, columns = array.rows, array.columns
    match array.dataflow:
        case "output_stationary":
            down, across, streamed, loaded = m, n, k, False
        case "weight_stationary":
            down, across, streamed, loaded = k, n, m, True
        case "input_stationary":
            down, across, streamed, loaded = k, m, n, True
    folds = int(ceil_div(down, rows) * ceil_div(across, columns))
    fold_cycles = streamed + rows + columns - 2 + (rows if loaded else 0)
    cycles = folds * fold_cycles - 1
    if cycles == 0:
        msg = "product must take more than the one cycle that the profile scalesim counts as 0"
        raise ValueError(msg)
    mapping = down * across / (folds * rows * columns)
    return ScaleSimReport(
        cycles=cycles,
        utilization=m * k * n / (rows * columns * cycles),
        mapping_efficiency=mapping,
        compute_utilization=mapping * streamed / (fold_cycles + (columns - 1 if loaded else 0)),
    )
