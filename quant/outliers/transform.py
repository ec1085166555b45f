"""What all transforms of (activation, weight) share: how they are applied, and what they count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.contraction import Contraction
from quant.inputs import check_finite, check_tensor
from quant.scales import Float32


@dataclass(frozen=True)
class TransformCost:
    """Operations a transform adds to the product of [m, k] and [k, n].

    Offline ones happen once a weight, the others once a call.
    """

    offline_adds: int = 0
    offline_multiplies: int = 0
    adds: int = 0
    multiplies: int = 0
    integer_macs: int = 0
    """More (or, if negative, fewer) multiply-accumulates of the integer array."""
    float_macs: int = 0
    """Multiply-accumulates in floating point beside it."""
    weight_elements: int = 0
    """More elements of the quantized weight to store."""


@dataclass(frozen=True, eq=False)
class Transformed:
    """Operands whose product is that of the original ones, in the reals.

    Parameters
    ----------
    lhs : float32 [..., k']
    rhs : float32 [k', n]
        To be quantized.
    real_lhs, real_rhs : float32 [..., o], [o, n], or None
        To be multiplied in floating point and added.
    contraction
        What multiplies both pairs; None for the matrices above.
    """

    lhs: Float32
    rhs: Float32
    real_lhs: Float32 | None = None
    real_rhs: Float32 | None = None
    contraction: Contraction | None = None

    def product(self) -> npt.NDArray[np.float64]:
        """Real product, in float64."""
        out = real_product(self.lhs, self.rhs, self.contraction)
        if self.real_lhs is not None and self.real_rhs is not None and self.real_rhs.size:
            out = out + real_product(self.real_lhs, self.real_rhs, self.contraction)
        return out


def real_product(lhs: Float32, rhs: Float32, contraction: Contraction | None = None) -> npt.NDArray[np.float64]:
    """Product in float64, of matrices or of a contraction."""
    a, b = lhs.astype(np.float64), rhs.astype(np.float64)
    if contraction is None:
        return np.asarray(a @ b)
    sizes = contraction.sizes_of(a.shape, b.shape)
    left, right = contraction.to_gemm(a, b, sizes)
    return np.asarray(contraction.from_gemm(left @ right, sizes))


class OutlierTransform(ABC):
    """A transform of (activation, weight) over `length` channels."""

    length: int

    def apply(
        self, lhs: npt.ArrayLike, rhs: npt.ArrayLike, contraction: str | None = None, axis: str | None = None
    ) -> Transformed:
        """Transform both operands.

        Parameters
        ----------
        lhs, rhs : float
            In the axes of `contraction`; without one ``[..., k]`` and ``[k, n]``.
        contraction
            A product without windows, such as ``bhqd,bhkd->bhqk``.
        axis
            Label of the channels; the last that both operands sum over if None.

        Raises
        ------
        ValueError
            If an operand has another number of channels or is not finite, or the axis is not summed over.
        """
        a, w = check_tensor(lhs), check_tensor(rhs)
        if contraction is None:
            return self._checked(a, w)
        parsed = Contraction.parse(contraction)
        label = parsed.shared[-1] if axis is None and parsed.shared else axis
        if parsed.links or label not in parsed.shared:
            msg = f"axis must be one of {', '.join(parsed.shared) or 'none'}, which {parsed} sums over, not {label}"
            raise ValueError(msg)
        at_lhs, at_rhs = parsed.lhs.index(label), parsed.rhs.index(label)
        front = np.moveaxis(w, at_rhs, 0)
        moved = self._checked(np.moveaxis(a, at_lhs, -1), front.reshape(front.shape[0], -1))

        def back(left: Float32 | None, right: Float32 | None) -> tuple[Float32 | None, Float32 | None]:
            if left is None or right is None:
                return None, None
            wide = right.reshape(right.shape[0], *front.shape[1:])
            return np.moveaxis(left, -1, at_lhs), np.moveaxis(wide, 0, at_rhs)

        whole = back(moved.lhs, moved.rhs)
        if whole[0] is None or whole[1] is None:  # both are there; for the type checker
            raise TypeError
        return Transformed(whole[0], whole[1], *back(moved.real_lhs, moved.real_rhs), parsed)

    def _checked(self, a: Float32, w: Float32) -> Transformed:
        if w.ndim != 2 or a.shape[-1] != self.length or w.shape[0] != self.length:
            msg = f"operands must be [..., {self.length}] and [{self.length}, n], not {a.shape} and {w.shape}"
            raise ValueError(msg)
        for x in (a, w):
            check_finite(x.min(), x.max())
        return self._apply(a, w)

    @abstractmethod
    def _apply(self, lhs: Float32, rhs: Float32) -> Transformed: ...

    @abstractmethod
    def cost(self, rows: int, columns: int) -> TransformCost:
        """Operations for `rows` rows of the activation and `columns` columns of the weight."""
