"""Transforms of outlier channels side by side on real operands: error before and after, verdict, and cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from quant.contraction import Contraction
from quant.errors import sqnr_db
from quant.inputs import check_tensor
from quant.layout import parse_layout
from quant.operand_spec import OperandSpec
from quant.scales import Float32
from quant.spec_quantization import quantize_operand
from quant.verify import decide

from .transform import OutlierTransform, TransformCost, Transformed, real_product

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TransformStudy:
    """One row of a study.

    Parameters
    ----------
    transform
        Its name; ``none`` for the operands as they are.
    verdict
        On the scale layouts of the integer product after the transform.
    sqnr_db, gain_db
        Signal over noise of the product of quantized operands, and what that is more than without a transform.
    cost
        What the transform adds.
    """

    transform: str
    verdict: str
    sqnr_db: float
    gain_db: float
    cost: TransformCost

    def to_row(self) -> dict[str, Any]:
        """Flat row; counts of operations at run time."""
        return {
            "transform": self.transform,
            "verdict": self.verdict,
            "sqnr_db": self.sqnr_db,
            "gain_db": self.gain_db,
            "adds": self.cost.adds,
            "multiplies": self.cost.multiplies,
            "integer_macs": self.cost.integer_macs,
            "float_macs": self.cost.float_macs,
        }


def study_transforms(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    transforms: Mapping[str, OutlierTransform],
    *,
    contraction: str = "mk,kn->mn",
    lhs_spec: OperandSpec | None = None,
    rhs_spec: OperandSpec | None = None,
    native_depth: int = 2,
) -> tuple[TransformStudy, ...]:
    """Quantize operands as they are and after each transform, and compare their products with the real one.

    Parameters
    ----------
    lhs, rhs : float
        An activation and a weight in the axes of `contraction`.
    transforms
        By name; channels lie along the last axis that both operands sum over.
    lhs_spec, rhs_spec
        How both are quantized; int8 for each token and each output channel if None.
    native_depth
        Of the array, for the verdict.

    Examples
    --------
    >>> import numpy as np
    >>> from quant import HadamardRotation
    >>> lhs = np.ones((2, 8), np.float32)
    >>> lhs[:, 3] = 100
    >>> rows = study_transforms(lhs, np.eye(8, dtype=np.float32), {"hadamard": HadamardRotation(8, 8)})
    >>> [(row.transform, row.verdict) for row in rows]
    [('none', 'once'), ('hadamard', 'once')]
    """
    a, w = check_tensor(lhs), check_tensor(rhs)
    parsed = Contraction.parse(contraction)
    specs = lhs_spec or OperandSpec(layout="per_token"), rhs_spec or OperandSpec(layout="per_channel")
    exact = real_product(a, w, parsed)
    gemm = parsed.gemm(parsed.sizes_of(a.shape, w.shape))
    rows: list[TransformStudy] = []
    whole: Iterable[tuple[str, OutlierTransform | None]] = [("none", None), *transforms.items()]
    for name, transform in whole:
        moved = Transformed(a, w, contraction=parsed) if transform is None else transform.apply(a, w, contraction)
        found = sqnr_db(exact, _quantized_product(moved, parsed, specs))
        cost = TransformCost() if transform is None else transform.cost(gemm.batch * gemm.m, gemm.n)
        verdict = _verdict(moved, parsed, specs, native_depth)
        rows.append(TransformStudy(name, verdict, found, found - (rows[0].sqnr_db if rows else found), cost))
    return tuple(rows)


def study_frame(rows: Iterable[TransformStudy]) -> pd.DataFrame:
    """One row a transform."""
    import pandas as pd  # noqa: PLC0415  rows serve without it

    return pd.DataFrame([row.to_row() for row in rows])


def _quantized_product(moved: Transformed, parsed: Contraction, specs: tuple[OperandSpec, OperandSpec]) -> Float32:
    layouts = (
        parse_layout(specs[0].layout, parsed.lhs, parsed, "lhs"),
        parse_layout(specs[1].layout, parsed.rhs, parsed, "rhs"),
    )
    left, right = (
        quantize_operand(x, spec, layout).dequantize()
        for x, spec, layout in zip((moved.lhs, moved.rhs), specs, layouts, strict=True)
    )
    product = Transformed(left, right, moved.real_lhs, moved.real_rhs, parsed).product()
    return product.astype("float32")


def _verdict(moved: Transformed, parsed: Contraction, specs: tuple[OperandSpec, OperandSpec], native_depth: int) -> str:
    sizes = parsed.sizes_of(moved.lhs.shape, moved.rhs.shape)
    found = decide(str(parsed), lhs=specs[0].layout, rhs=specs[1].layout, sizes=dict(sizes), native_depth=native_depth)
    return found.verdict
