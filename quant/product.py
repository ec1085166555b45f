"""Product quantization: a matrix product by table look-ups and integer additions.

Each row of the activation is cut into pieces, each piece replaced by the nearest of a few prototypes; the products
of all prototypes with the weight are tabulated offline. A call encodes the activation, then looks up and adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .clustering import cluster, nearest
from .formats import IntArray
from .inputs import check_finite, check_tensor
from .scales import Float32, Range, scale_from_range

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProductTables:
    """Products of all prototypes with a weight, as int8 with one scale a column.

    A scale that differed between subspaces would vary along the sum and could not be taken out of it.

    Parameters
    ----------
    entries : int8 [subspaces, prototypes, n]
    scale : float32 [n]
    """

    entries: npt.NDArray[np.int8]
    scale: Float32

    @property
    def accumulator_bits(self) -> int:
        """Width of a two's complement sum over the subspaces that cannot overflow."""
        subspaces: int = self.entries.shape[0]
        return (subspaces * 127).bit_length() + 1

    def aggregate(self, codes: IntArray) -> npt.NDArray[np.int32]:
        """Look up and add: exact integer sums.

        Parameters
        ----------
        codes : int [m, subspaces]

        Returns
        -------
        sums : int32 [m, n]
            Times `scale` they are the product.
        """
        sums = np.zeros((codes.shape[0], self.scale.size), np.int32)
        for subspace in range(codes.shape[1]):
            sums += self.entries[subspace, codes[:, subspace]]
        return sums


@dataclass(frozen=True, eq=False)
class ProductQuantizer:
    """Prototypes of each subspace.

    Parameters
    ----------
    prototypes : float32 [subspaces, prototypes, width]
        Subspace c covers the columns ``c * width .. (c + 1) * width - 1``.
    """

    prototypes: Float32

    @classmethod
    def fit(
        cls, rows: npt.ArrayLike, subspaces: int, prototypes: int, *, seed: int = 0, steps: int = 50
    ) -> ProductQuantizer:
        """Find prototypes by Lloyd's k-means in each subspace, started by k-means++ sampling.

        Parameters
        ----------
        rows : float [samples, k]
            Calibration activations.
        subspaces
            Must divide k.
        prototypes : 2..samples
            Number in each subspace.
        seed, steps
            Of the sampling; most steps of Lloyd's iteration.

        Raises
        ------
        ValueError
            If a number does not fit the rows, or a value is not finite.
        """
        x = check_tensor(rows)
        if x.ndim != 2 or subspaces < 1 or x.shape[1] % subspaces:
            msg = f"subspaces must divide the columns of [samples, k], not {subspaces} with {x.shape}"
            raise ValueError(msg)
        if not 2 <= prototypes <= x.shape[0]:
            msg = f"prototypes must be in 2..{x.shape[0]} for {x.shape[0]} samples, not {prototypes}"
            raise ValueError(msg)
        check_finite(x.min(), x.max())
        rng = np.random.default_rng(seed)
        return cls(cluster(_pieces(x, subspaces), prototypes, rng, steps).astype(np.float32))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Subspaces, prototypes, width of a subspace."""
        subspaces, prototypes, width = self.prototypes.shape
        return subspaces, prototypes, width

    @property
    def code_bits(self) -> int:
        """Bits of an encoded row."""
        subspaces, prototypes, _ = self.shape
        return subspaces * (prototypes - 1).bit_length()

    @property
    def encode_macs(self) -> int:
        """Multiply-accumulates to encode a row: every piece against every prototype."""
        return self.prototypes.size

    def encode(self, rows: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Index of the nearest prototype of each piece, the first of equals.

        Parameters
        ----------
        rows : float [m, k]

        Returns
        -------
        codes : int32 [m, subspaces]

        Raises
        ------
        ValueError
            If the rows have another length, or a value is not finite.
        """
        x = check_tensor(rows)
        subspaces, _, width = self.shape
        if x.ndim != 2 or x.shape[1] != subspaces * width:
            msg = f"rows must be [m, {subspaces * width}], not {x.shape}"
            raise ValueError(msg)
        check_finite(x.min(), x.max())
        return nearest(_pieces(x, subspaces), self.prototypes.astype(np.float64)).T.astype(np.int32)

    def decode(self, codes: IntArray) -> Float32:
        """Rows made of prototypes, float32 [m, k]."""
        subspaces = np.arange(codes.shape[1])
        rows: Float32 = self.prototypes[subspaces, codes].reshape(codes.shape[0], -1)
        return rows

    def products(self, weight: npt.ArrayLike) -> Float64:
        """Products of all prototypes with a weight [k, n], float64 [subspaces, prototypes, n].

        Raises
        ------
        ValueError
            If the weight has another number of rows.
        """
        w = check_tensor(weight)
        subspaces, _, width = self.shape
        if w.ndim != 2 or w.shape[0] != subspaces * width:
            msg = f"weight must be [{subspaces * width}, n], not {w.shape}"
            raise ValueError(msg)
        products: Float64 = np.einsum(
            "cpw,cwn->cpn", self.prototypes.astype(np.float64), w.reshape(subspaces, width, -1)
        )
        return products

    def tables(self, weight: npt.ArrayLike) -> ProductTables:
        """Quantize `products` to int8 with one symmetric scale a column."""
        products = self.products(weight).astype(np.float32)
        bounds = Range(products.min(axis=(0, 1)), products.max(axis=(0, 1)))
        scale, _ = scale_from_range(bounds, "int8_narrow")
        return ProductTables(np.clip(np.rint(products / scale), -127, 127).astype(np.int8), scale)


def _pieces(x: Float32, subspaces: int) -> Float64:
    """Cut rows into [subspaces, m, width]."""
    return np.ascontiguousarray(x.reshape(x.shape[0], subspaces, -1).transpose(1, 0, 2)).astype(np.float64)
