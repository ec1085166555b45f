"""A Layer: one contraction of two operands, with names for its tensors and a size for each label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from quant.contraction import Contraction, Gemm

from .tensors import FloatArray

Kind = Literal["weight", "activation"]
MOST_MACS = 2**53  # every count up to here is exact in float64, and none overflows 64 bits
Producer = Literal["function", "contraction", "input", "constant", "cache"]


def shape_text(labels: tuple[str, ...]) -> str:
    """Write the labels of an operand as its shape, ``[m, k]``."""
    return f"[{', '.join(labels)}]"


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        msg = f"{what} must be one of {', '.join(choices)}, not {value!r}"
        raise ValueError(msg)


def bind_sizes(
    contraction: Contraction,
    lhs_shape: tuple[int, ...],
    rhs_shape: tuple[int, ...],
    *,
    lhs: str = "lhs",
    rhs: str = "rhs",
) -> dict[str, int]:
    """Read the size of each label off the shapes of two operands.

    Parameters
    ----------
    contraction
        Gives the labels of both operands.
    lhs_shape, rhs_shape
        Shapes, one size for each label.
    lhs, rhs
        What the operands are called in errors.

    Returns
    -------
    sizes : elements
        By label, in order of appearance; those of a convolution's output follow.

    Raises
    ------
    ValueError
        If an operand has another number of axes than labels, is empty, or the operands disagree on a shared label.

    Examples
    --------
    >>> bind_sizes(Contraction.parse("mk,kn->mn"), (3, 5), (5, 7))
    {'m': 3, 'k': 5, 'n': 7}
    >>> bind_sizes(Contraction.parse("mk,kn->mn"), (3, 5), (7, 2))
    Traceback (most recent call last):
    ...
    ValueError: lhs [m, k] and rhs [k, n] must share k, not 5 and 7
    """
    sizes: dict[str, int] = {}
    for name, labels, shape in ((lhs, contraction.lhs, lhs_shape), (rhs, contraction.rhs, rhs_shape)):
        if len(labels) != len(shape):
            msg = f"{name} must have the {len(labels)} axes {shape_text(labels)}, not shape {list(shape)}"
            raise ValueError(msg)
        if 0 in shape:
            msg = f"{name} must have elements, not shape {list(shape)}"
            raise ValueError(msg)
        for label, size in zip(labels, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                both = f"{lhs} {shape_text(contraction.lhs)} and {rhs} {shape_text(contraction.rhs)}"
                msg = f"{both} must share {label}, not {sizes[label]} and {size}"
                raise ValueError(msg)
    return contraction.complete(sizes)


@dataclass(frozen=True, slots=True)
class Layer:
    """One contraction of two operands, with names for its tensors and a size for each label.

    Parameters
    ----------
    name
        Unique in its network: ``ffn_up``.
    contraction
        Einsum of two operands, ``mk,kn->mn``, or a convolution, as `quant.Contraction.parse` reads them.
    sizes : elements
        For each label, in the workload that costs are stated for. ``Network.run`` takes other numbers of tokens too.
    lhs, rhs, output
        Names of tensors.
    rhs_kind
        ``weight``: known before anything runs; ``activation``: made at run time, as in attention.
    bias
        Name of a tensor with one value for each element of the last axis of the output.
    lhs_producer, rhs_producer
        What makes the operand, seen through reshapes: a ``function`` (softmax, layer_norm, gelu, ...), a
        ``contraction``, or it is an ``input``, a ``constant`` or a ``cache``: an input that earlier calls have made and
        stored as the scheme stores it. Hardware quantizes in the producer's epilogue.

    Examples
    --------
    >>> layer = Layer("up", "mk,kn->mn", {"m": 2, "k": 3, "n": 5}, "x", "up.weight", "y")
    >>> layer.macs, layer.output_shape
    (30, (2, 5))
    """

    name: str
    contraction: str
    sizes: Mapping[str, int] = field(hash=False)
    lhs: str
    rhs: str
    output: str
    rhs_kind: Kind = "weight"
    bias: str | None = None
    lhs_producer: Producer = "input"
    rhs_producer: Producer = "constant"

    def __post_init__(self) -> None:
        try:
            parsed = Contraction.parse(self.contraction)
            sizes = parsed.complete(self.sizes)
        except ValueError as error:
            msg = f"layer {self.name}: {error}"
            raise ValueError(msg) from error
        object.__setattr__(self, "sizes", sizes)
        if self.macs > MOST_MACS:
            msg = f"sizes of layer {self.name} must give at most 2**53 multiply-accumulates, not {self.macs}"
            raise ValueError(msg)
        check_choice(f"rhs_kind of layer {self.name}", self.rhs_kind, get_args(Kind))
        check_choice(f"lhs_producer of layer {self.name}", self.lhs_producer, get_args(Producer))
        check_choice(f"rhs_producer of layer {self.name}", self.rhs_producer, get_args(Producer))
        if (self.rhs_kind == "weight") != (self.rhs_producer == "constant"):
            msg = f"rhs_producer of layer {self.name} must be constant for a weight and only for a weight"
            raise ValueError(f"{msg}, not {self.rhs_producer} for {self.rhs_kind}")
        if self.bias is not None and (not parsed.out or parsed.out[-1] not in parsed.rhs):
            msg = f"bias of layer {self.name} must follow a last output axis of rhs, not {self.contraction}"
            raise ValueError(msg)

    @property
    def parsed(self) -> Contraction:
        """The contraction as index maps."""
        return Contraction.parse(self.contraction)

    def resized(self, **sizes: int) -> Layer:
        """Return the layer with other sizes of the labels given."""
        return replace(self, sizes={**self.sizes, **sizes})

    @property
    def gemm(self) -> Gemm:
        """The contraction as batched matrix multiplication: batch, m, k, n."""
        return self.parsed.gemm(self.sizes)

    @property
    def macs(self) -> int:
        """Number of multiply-accumulates of `gemm`."""
        return self.gemm.macs

    @property
    def lhs_shape(self) -> tuple[int, ...]:
        """Shape of lhs at `sizes`."""
        return tuple(self.sizes[label] for label in self.parsed.lhs)

    @property
    def rhs_shape(self) -> tuple[int, ...]:
        """Shape of rhs at `sizes`."""
        return tuple(self.sizes[label] for label in self.parsed.rhs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output at `sizes`."""
        return tuple(self.sizes[label] for label in self.parsed.out)

    def output_shape_of(self, lhs: FloatArray, rhs: FloatArray) -> tuple[int, ...]:
        """Compute the shape of the output from operands of any agreeing sizes.

        Parameters
        ----------
        lhs, rhs : float32 or float64
            Axes as in `contraction`.

        Returns
        -------
        shape : elements
            One size for each axis of the output.

        Raises
        ------
        ValueError
            If the operands do not contract.
        """
        sizes = self._bind(lhs, rhs)
        return tuple(sizes[label] for label in self.parsed.out)

    def _bind(self, lhs: FloatArray, rhs: FloatArray) -> dict[str, int]:
        sides = {"lhs": f"lhs of layer {self.name}", "rhs": f"rhs of layer {self.name}"}
        return bind_sizes(self.parsed, lhs.shape, rhs.shape, **sides)

    def contract(self, lhs: FloatArray, rhs: FloatArray, bias: FloatArray | None = None) -> FloatArray:
        """Contract two float operands and add the bias: the reference that quantized results are held against.

        Parameters
        ----------
        lhs, rhs : float32 or float64
            Axes as in `contraction`; sizes may differ from `sizes` as long as the operands agree.
        bias : float32 or float64 [n]
            One value for each element of the last axis of the output.

        Returns
        -------
        out : float32 or float64
            Axes as in `contraction`.

        Raises
        ------
        ValueError
            If the operands do not contract, or their product overflows.

        Examples
        --------
        >>> layer = Layer("up", "mk,kn->mn", {"m": 1, "k": 2, "n": 1}, "x", "up.weight", "y")
        >>> layer.contract(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([0.5]))
        array([[11.5]])
        """
        contraction = self.parsed
        sizes = self._bind(lhs, rhs)
        left, right = contraction.to_gemm(lhs, rhs, sizes)
        with np.errstate(over="ignore", invalid="ignore"):  # said below, with the layer's name
            out: FloatArray = contraction.from_gemm(np.matmul(left, right), sizes)
            if bias is not None:
                if bias.shape != out.shape[-1:]:
                    msg = f"bias of layer {self.name} must have shape {list(out.shape[-1:])}, not {list(bias.shape)}"
                    raise ValueError(msg)
                out = out + bias
        self.require_finite(out, lhs, rhs)
        return out

    def require_finite(self, out: FloatArray, lhs: FloatArray, rhs: FloatArray) -> None:
        """Refuse sums that finite operands have driven out of their format.

        Raises
        ------
        ValueError
            If a result is infinite or not a number and all operands are finite.
        """
        if np.isfinite(out).all() or not (np.isfinite(lhs).all() and np.isfinite(rhs).all()):
            return
        reach = " and ".join(f"{name} up to {np.abs(x).max():.3g}" for name, x in (("lhs", lhs), ("rhs", rhs)))
        msg = f"product of layer {self.name} must fit {out.dtype}, not overflow: it has {reach}"
        raise ValueError(msg)
