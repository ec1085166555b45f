"""Operations that a repair costs, as functions of the sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """So many operations of one kind: a constant times a product of sizes.

    Parameters
    ----------
    operation
        ``multiply``, ``add``, ``shift``, ``round``, ``move``, ``integer MAC``, ``float MAC``, ``rescale``.
    axes
        Labels whose sizes are multiplied.
    factor
        Constant before the product.
    log2
        Label whose binary logarithm is a factor too, or empty.
    unless
        Circumstance in which the work falls away, or empty.

    Examples
    --------
    >>> work = Work("multiply", ("m", "k"), unless="folded into the producer of lhs")
    >>> print(work), work.at({"m": 256, "k": 512})
    m k multiply, unless folded into the producer of lhs
    (None, 131072)
    """

    operation: str
    axes: tuple[str, ...]
    factor: float = 1.0
    log2: str = ""
    unless: str = ""

    def at(self, sizes: Mapping[str, int]) -> int:
        """Count the operations at these sizes."""
        total = self.factor * math.prod(sizes[axis] for axis in self.axes)
        return math.ceil(total * (math.log2(sizes[self.log2]) if self.log2 else 1))

    def __str__(self) -> str:
        parts = [f"{self.factor:g}"] if self.factor != 1 or not self.axes else []
        parts += self.axes
        parts += [f"log2({self.log2})"] if self.log2 else []
        return f"{' '.join(parts)} {self.operation}" + (f", unless {self.unless}" if self.unless else "")


def total(work: tuple[Work, ...], sizes: Mapping[str, int]) -> int:
    """Count all operations at these sizes."""
    return sum(one.at(sizes) for one in work)
