"""The order in which nested loops walk a reduction: what a dataflow and its tiling make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from quant.formats import IntArray


def reduction_order(sizes: Mapping[str, int], loops: Sequence[str]) -> IntArray:
    """Return the order in which nested loops walk a reduction, for the `order` of `matmul` and `conv2d`.

    Parameters
    ----------
    sizes
        Length of every axis of the reduction, outermost in memory first: ``{"k": 512}`` of a matrix, or
        ``{"c": 64, "r": 3, "s": 3}`` of a convolution.
    loops
        The loops, outermost first: ``"c:16"`` steps over tiles of 16, ``"c"`` steps over the elements of the tile
        (or of the axis) that the loops around it have reached.

    Returns
    -------
    order : int64 [product of the sizes]
        Positions in memory order, in the order of accumulation.

    Raises
    ------
    ValueError
        If a loop is of no axis, its step is not positive, or an axis has no loop over its elements.

    Examples
    --------
    Channels in pairs outermost, then the kernel's positions, then the channels of the pair:

    >>> reduction_order({"c": 4, "r": 2}, ("c:2", "r", "c"))
    array([0, 2, 1, 3, 4, 6, 5, 7])
    """
    shape = tuple(sizes.values())
    positions = np.indices(shape, np.int64).reshape(len(shape), -1)
    places = dict(zip(sizes, positions, strict=True))
    keys = []
    for loop in loops:
        label, _, step = loop.partition(":")
        if label not in places:
            msg = f"loop must be over one of {', '.join(sizes)}, not {loop!r}"
            raise ValueError(msg)
        if step and (not step.isdecimal() or int(step) < 1):
            msg = f"step of a loop must be at least 1, not {loop!r}"
            raise ValueError(msg)
        # Inside a tile, which tile of the smaller step it is orders as the position in the tile does.
        keys.append(places[label] // int(step or 1))
    missing = [label for label in sizes if label not in loops]
    if missing:
        msg = f"every axis must have a loop over its elements, not none over {', '.join(missing)}"
        raise ValueError(msg)
    order: IntArray = np.lexsort(keys[::-1])
    return order
