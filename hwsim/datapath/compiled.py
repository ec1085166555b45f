"""Recorded arithmetic as compiled loops over large arrays. Importing this module imports numba."""

from __future__ import annotations

import concurrent.futures
import functools
import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from quant.formats import IntArray

from .recording import Record, Term

STRIP = 1 << 20
"""Elements that a thread takes at once."""


@intrinsic
def _fused_multiply_add(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Multiply and add in float32 with one rounding: the processor's instruction, or libm's function."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(a, b, c), build


@functools.cache
def _loop(name: str, source: str) -> Any:
    """Compile a recorded loop, or load it from numba's cache."""
    # The cache lies beside this file and is renewed with it; the name, a hash of the source, tells the loops apart.
    names = {"__name__": __name__, "np": np, "fused_multiply_add": _fused_multiply_add}
    exec(compile(source, __file__, "exec"), names)  # noqa: S102 our own text, from hwsim.datapath.recording
    return numba.njit(nogil=True, cache=True, error_model="numpy")(names[name])


def run(record: Record, result: Term, acc: npt.NDArray[Any], lo: int, hi: int, dtype: np.dtype[Any]) -> IntArray | None:
    """Compute a recorded result for every element, clamped to lo..hi; None if a guard was hit.

    Parameters
    ----------
    record, result
        What to compute.
    acc : int [...]
        Elements.
    lo, hi
        Clamp.
    dtype
        Of the result.
    """
    parameters = [_narrow(p) for p in record.parameters]
    rows, columns = _matrix(acc.shape, parameters)
    flat = [_flatten(p, acc.shape, rows, columns) for p in parameters]
    kinds = tuple(_KINDS[p.shape[0] > 1, p.shape[1] > 1] for p in flat)
    loop = _loop(*record.source(result, kinds))
    source, out = acc.reshape(rows, columns), np.empty((rows, columns), dtype)

    def work(part: tuple[slice, slice]) -> bool:
        some = [p[part[0] if p.shape[0] > 1 else slice(None), part[1] if p.shape[1] > 1 else slice(None)] for p in flat]
        return bool(loop(source[part], out[part], lo, hi, *some))

    parts = _parts(rows, columns)
    threads = min(len(parts), _threads())
    if threads == 1:
        bad = [work((slice(None), slice(None)))]
    else:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            bad = list(pool.map(work, parts))
    return None if any(bad) else out.reshape(acc.shape)


def _threads() -> int:
    """As many as numba may use."""
    count: int = numba.get_num_threads()
    return count


_KINDS = {(False, False): "scalar", (True, False): "row", (False, True): "column", (True, True): "full"}


def _narrow(p: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Hold integers in 32 bits where they fit: half the memory, and products of 32 by 32 bits."""
    if p.dtype.kind == "f":
        return p
    low, high = (p.item(), p.item()) if p.size == 1 else (p.min(initial=0), p.max(initial=0))
    return p.astype(np.int32) if low >= -(1 << 31) and high < 1 << 31 else p


def _matrix(shape: Sequence[int], parameters: Sequence[npt.NDArray[Any]]) -> tuple[int, int]:
    """Rows and columns: the longest run of last axes along which no parameter varies, else the last axis."""
    constant = 0
    while constant < len(shape) and all(p.ndim <= constant or p.shape[-1 - constant] == 1 for p in parameters):
        constant += 1
    columns = math.prod(shape[len(shape) - max(constant, 1) :])
    return math.prod(shape) // columns, columns


def _flatten(p: npt.NDArray[Any], shape: Sequence[int], rows: int, columns: int) -> npt.NDArray[Any]:
    """[rows or 1, columns or 1] of a parameter, repeated no more than that takes."""
    if p.size == 1:
        return p.reshape(1, 1)
    across = p.ndim > 0 and p.shape[-1] > 1
    width = columns if across else 1
    if p.size == width:
        return p.reshape(1, width)
    axes, run = len(shape), 1
    while run < columns:  # the last axes that make a row
        axes -= 1
        run *= shape[axes]
    target = (*shape[:-1], shape[-1]) if across else (*shape[:axes], *[1] * (len(shape) - axes))
    return np.ascontiguousarray(np.broadcast_to(p, target)).reshape(rows, width)


def _parts(rows: int, columns: int) -> list[tuple[slice, slice]]:
    """Cut a matrix for threads: rows, or, if there is one, its columns."""
    if rows == 1:
        return [(slice(None), slice(left, left + STRIP)) for left in range(0, columns, STRIP)]
    height = max(1, STRIP // columns)
    return [(slice(top, top + height), slice(None)) for top in range(0, rows, height)]
