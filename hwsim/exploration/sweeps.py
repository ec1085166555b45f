"""The front door of design spaces: every point read by the closed forms, in blocks, on disk if asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workloads
from hwsim.accelerator import Accelerator
from hwsim.defaults import DEFAULT_SCHEME
from hwsim.exploration.blocks import Block
from hwsim.exploration.parts import Parts
from hwsim.exploration.spaces import make_space
from hwsim.exploration.studies import Study
from quant import Scheme

if TYPE_CHECKING:
    import pandas as pd

    from workloads import Network

Progress = Callable[[int, int], None]

BLOCK = 1 << 17
"""Rows of a part of a folder, and of a network between two reports of progress."""
PRODUCT_BLOCK = 1 << 20
"""Rows of one product that are read at once: fewer blocks leave fewer groups that are too small for speed."""
MOST_ROWS = 1 << 24
"""Rows that are held in memory at the most: some gigabytes."""


def _silent(_: int, __: int) -> None:
    """Report to nobody."""


def explore(
    workload: Network | str | Path = "minilm-block",
    schemes: Scheme | str | Path | Sequence[Scheme | str | Path] = DEFAULT_SCHEME,
    accelerator: Accelerator | str | Path = "edge-16x16",
    *,
    grid: Mapping[str, Any] | None = None,
    points: Mapping[str, Any] | pd.DataFrame | None = None,
    costs: bool = True,
    folder: str | Path | None = None,
    progress: Progress = _silent,
) -> pd.DataFrame:
    """Read time, energy and area of every point of a design space.

    Parameters
    ----------
    workload
        A network, the name of an embedded one, or an ``.npz`` file of operands. Of one product, as `workloads.gemm`
        makes it, points may vary the sizes ``m``, ``k`` and ``n`` too.
    schemes
        One or several; each is tried at every point.
    accelerator
        What is not varied.
    grid
        Values by field of the accelerator, as YAML names it (``array.rows``; ``rows`` alone where only one field ends
        in it). Every combination is a point.
    points
        Columns of equal length by field. Every row is a point, with every combination of the grid.
    costs
        Energy and area too; otherwise time and traffic only.
    folder
        Where finished blocks are written. The same call goes on where an earlier one stopped.
    progress
        Called with the rows done and all rows.

    Returns
    -------
    frame
        One row a point: ``scheme``, what varies, ``verdict``, numbers named as in `Result.totals`, the ``bound`` of
        most cycles, and the ``reason`` of a point that can not run, which has no numbers.

    Raises
    ------
    ValueError
        If a field, a value or a name is wrong, or the folder holds another space.

    Examples
    --------
    >>> import workloads
    >>> frame = explore(workloads.gemm(128, 512, 256), grid={"array.rows": [8, 16], "array.columns": [8, 16]})
    >>> frame[["array.rows", "array.columns", "compute_cycles"]].to_numpy().tolist()
    [[8, 8, 269312], [8, 16, 136704], [16, 8, 136704], [16, 16, 69376]]
    """
    several = [schemes] if isinstance(schemes, Scheme | str | Path) else list(schemes)
    network, chosen = workloads.load(workload), [Scheme.load(scheme) for scheme in several]
    _different([scheme.name for scheme in chosen])
    layers = network.layers
    sizes = len(layers) == 1 and layers[0].contraction == "mk,kn->mn"
    machine = Accelerator.load(accelerator)
    space = make_space(grid or {}, points, sizes=sizes)
    study = Study(network, chosen, machine, space, costs=costs)
    rows = study.rows
    if folder is None and rows > MOST_ROWS:
        msg = f"points must be at most {MOST_ROWS:,} without a folder for parts, not {rows:,}"
        raise ValueError(msg)
    block = PRODUCT_BLOCK if folder is None and len(layers) == 1 else BLOCK
    blocks = [(start, min(start + block, rows)) for start in range(0, rows, block)]
    if folder is None:
        whole = study.results(0, rows)
        for start, stop in blocks:
            Block(study, whole.part(start, stop)).read()
            progress(stop, rows)
        return study.frame(whole)
    parts = Parts(Path(folder), study.describe())
    for number, (start, stop) in enumerate(blocks):
        if not parts.has(number):
            results = study.results(start, stop)
            Block(study, results).read()
            parts.add(number, study.frame(results))
        progress(stop, rows)
    return parts.frame()


def _different(names: Sequence[str]) -> None:
    if not names or len(set(names)) != len(names):
        msg = f"schemes must be one or more of different names, not {', '.join(names) or 'none'}"
        raise ValueError(msg)
