"""Product quantization on integers: prototypes on the activation's own grid, tables of their products, and codes.

Values and prototypes are integers of one scale, so that the nearest prototype is found exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quant import Contraction, ProductQuantizer, QTensor, parse_layout, quantize_operand

if TYPE_CHECKING:
    from hwsim.execution.quantization import Float32
    from hwsim.plan import EncodePrototypes, Plan
    from quant import OperandSpec
    from quant.formats import IntArray


@dataclass(frozen=True)
class Prototypes:
    """Prototypes of a layer and the tables made of them.

    Parameters
    ----------
    values : int [subspaces, prototypes, width]
        On the grid of the quantized activation.
    tables
        Products with the weight, ``[subspaces, prototypes, n]``, in the weight's format and layout.
    """

    values: npt.NDArray[np.int64]
    tables: QTensor

    def encode(self, rows: IntArray) -> IntArray:
        """Index of the nearest prototype of each piece, the first of equals.

        Parameters
        ----------
        rows : int [m, k]

        Returns
        -------
        indices : int64 [m, subspaces]
        """
        pieces = cut(rows, self.values.shape[2]).astype(np.int64)
        # |x - p|^2 without |x|^2, which all prototypes of a piece share
        scores = 2 * np.einsum("mcw,cpw->mcp", pieces, self.values) - np.square(self.values).sum(axis=2)
        return np.asarray(scores.argmax(axis=2))


def cut(rows: npt.NDArray[np.generic], width: int) -> npt.NDArray[np.generic]:
    """Cut rows ``[m, k]`` into pieces ``[m, subspaces, width]``; a last shorter one ends in zeros."""
    missing = -rows.shape[1] % width
    return np.pad(rows, ((0, 0), (0, missing))).reshape(rows.shape[0], -1, width)


def fit_prototypes(
    plan: Plan, step: EncodePrototypes, lhs: QTensor, rhs: Float32, weight_spec: OperandSpec
) -> Prototypes:
    """Fit prototypes to the calibration rows and tabulate their products with the weight.

    Raises
    ------
    ValueError
        If there are fewer rows than prototypes.
    """
    rows, weight = (x[0] for x in Contraction.parse(plan.layer.contraction).to_gemm(lhs.integers, rhs))
    pieces = cut(rows, step.width)
    found = ProductQuantizer.fit(pieces.reshape(len(pieces), -1), step.subspaces, step.prototypes)
    fmt = lhs.format
    values = np.clip(np.rint(found.prototypes), fmt.lo, fmt.hi).astype(np.int64)
    columns = cut(weight.T, step.width)  # [n, subspaces, width]
    products = np.einsum("cpw,ncw->cpn", values.astype(np.float64), columns.astype(np.float64))
    text = "n:1" if weight_spec.layout == "per_channel" else weight_spec.layout
    return Prototypes(values, quantize_operand(products, weight_spec, parse_layout(text, "cpn")))
