"""How buffers hold the left operand of a convolution: as the image it is, or as patches.

Rows of the product are outputs, and the windows of neighbours overlap. A direct convolution keeps what windows see and
reads it once a pass, a line buffer beside the array hands it on from window to window. With im2col a value is stored
and read once for each window that it is in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quant import Contraction


@dataclass(frozen=True, slots=True)
class Windows:
    """What a buffer holds of an operand, in values.

    Parameters
    ----------
    elements
        All of it.
    row
        That one more row of the product brings.
    halo
        That a run of rows holds beside, since its windows reach over its ends.
    patches
        Whether the values are another copy than the tensor that is stored.
    """

    elements: int
    row: int
    halo: int = 0
    patches: bool = False

    def __str__(self) -> str:
        if self.patches:
            return f"{self.elements:,} values as patches, read once for each window they are in"
        return f"{self.elements:,} values as the image, read once a pass"

    @classmethod
    def of(cls, contraction: str, sizes: Mapping[str, int], convolution: Literal["direct", "im2col"]) -> Windows | None:
        """Measure the windows of a convolution; None of a contraction that has none.

        Examples
        --------
        >>> sizes = {"b": 1, "c": 2, "h": 8, "w": 8, "o": 4, "r": 3, "s": 3, "p": 8, "q": 8}
        >>> Windows.of("conv2d padding=1", sizes, "direct"), Windows.of("conv2d padding=1", sizes, "im2col")
        (Windows(elements=128, row=2, halo=56, patches=False), Windows(elements=1152, row=18, halo=0, patches=True))
        """
        parsed = Contraction.parse(contraction)
        if not parsed.links:
            return None
        gemm = parsed.gemm(sizes)
        if convolution == "im2col":
            return cls(gemm.batch * gemm.m * gemm.k, gemm.k, patches=True)
        return _direct(parsed, tuple(parsed.complete(sizes).items()))


@dataclass(frozen=True, slots=True)
class _Axis:
    """Positions of one axis of the image: seen in all and by one window, and ``step n + halo`` by any n neighbours."""

    seen: int
    wide: int
    step: int
    halo: int


@functools.lru_cache(maxsize=1024)
def _direct(parsed: Contraction, items: tuple[tuple[str, int], ...]) -> Windows:
    """Bound what neighbouring rows see: whole lines around the outer windows, and the ends of these.

    A run may start and end inside an image, and in another one: then each end has a halo.
    """
    sizes = dict(items)
    axes = [_axis(parsed, sizes, label) for label in parsed.out if any(link.out == label for link in parsed.links)]
    linked = {link.lhs for link in parsed.links}
    channels = math.prod(sizes[x] for x in parsed.shared if x not in linked)
    gemm = parsed.gemm(sizes)
    images = math.prod(sizes[x] for x in parsed.outer_lhs)
    seen = channels * math.prod(axis.seen for axis in axes)
    outputs = gemm.m // images
    row = max(channels * math.prod(axis.step for axis in axes), -(-seen // outputs))
    halo = 0
    for index, axis in enumerate(axes):
        around = math.prod(one.wide for one in axes[:index]) * math.prod(one.seen for one in axes[index + 1 :])
        # The first line and the last of a run are no whole ones.
        halo += channels * axis.halo * around * (1 if index == 0 else 2)
    elements = max(1, gemm.batch * images * seen)  # of padding alone nothing is seen
    if halo == 0 or row >= gemm.k:
        return Windows(elements, gemm.k)
    return Windows(elements, row, halo * (1 if images == 1 else 2))


def _axis(parsed: Contraction, sizes: dict[str, int], label: str) -> _Axis:
    link = next(link for link in parsed.links if link.out == label)
    taps, outputs = np.arange(sizes[link.rhs]), np.arange(sizes[label])
    position, present = link.lhs_at(taps, outputs[:, None], sizes[link.lhs])
    windows = [frozenset(at[there].tolist()) for at, there in zip(position, present, strict=True)]
    most = [0] * (len(windows) + 1)  # positions that so many neighbours see at most
    for first in range(len(windows)):
        union: set[int] = set()
        for count, window in enumerate(windows[first:], 1):
            union |= window
            most[count] = max(most[count], len(union))
    wide = most[1]
    reach = max((max(window) - min(window) + 1 for window in windows if window), default=0)
    halos = (max(seen - step * count for count, seen in enumerate(most)) for step in range(wide + 1))
    step, halo = next((step, halo) for step, halo in enumerate(halos) if halo <= reach)
    return _Axis(most[-1], wide, step, halo)
