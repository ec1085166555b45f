"""The nodes of a network: a Layer is one contraction of two operands, a Function is what happens between them."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never, get_args

import numpy as np
import numpy.typing as npt

from quant.contraction import Contraction, Gemm

from .functions import gelu, layer_norm, softmax

FloatArray = npt.NDArray[np.floating[Any]]
Kind = Literal["weight", "activation"]
Producer = Literal["function", "contraction", "input", "constant"]


def shape_text(labels: tuple[str, ...]) -> str:
    """Write the labels of an operand as its shape, ``[m, k]``."""
    return f"[{', '.join(labels)}]"


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{what} must be one of {', '.join(choices)}, not {value!r}"
        raise ValueError(msg)


def _checked_sizes(name: str, axes: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """Copy the sizes of a function after checking that each axis, and nothing else, has a positive integer."""
    if set(sizes) != set(axes):
        msg = f"sizes of function {name} must be given for {', '.join(axes)}, not for {', '.join(sizes) or 'nothing'}"
        raise ValueError(msg)
    for label, size in sizes.items():
        value: object = size
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            msg = f"size {label} of function {name} must be a positive integer, not {value!r}"
            raise ValueError(msg)
    return dict(sizes)


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
        ``contraction``, or it is an ``input`` or a ``constant``. Hardware quantizes in the producer's epilogue.

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
        _check_choice(f"rhs_kind of layer {self.name}", self.rhs_kind, get_args(Kind))
        _check_choice(f"lhs_producer of layer {self.name}", self.lhs_producer, get_args(Producer))
        _check_choice(f"rhs_producer of layer {self.name}", self.rhs_producer, get_args(Producer))
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
            If the operands do not contract.

        Examples
        --------
        >>> layer = Layer("up", "mk,kn->mn", {"m": 1, "k": 2, "n": 1}, "x", "up.weight", "y")
        >>> layer.contract(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([0.5]))
        array([[11.5]])
        """
        contraction = self.parsed
        sizes = self._bind(lhs, rhs)
        left, right = contraction.to_gemm(lhs, rhs, sizes)
        out: FloatArray = contraction.from_gemm(np.matmul(left, right), sizes)
        if bias is None:
            return out
        if bias.shape != out.shape[-1:]:
            msg = f"bias of layer {self.name} must have shape {list(out.shape[-1:])}, not {list(bias.shape)}"
            raise ValueError(msg)
        return out + bias


class FunctionKind(enum.StrEnum):
    """What a Function does; the last two only move data."""

    SOFTMAX = "softmax"
    LAYER_NORM = "layer_norm"
    GELU = "gelu"
    RELU = "relu"
    ADD = "add"
    SCALE = "scale"
    SPLIT_HEADS = "split_heads"
    MERGE_HEADS = "merge_heads"

    @property
    def moves_only(self) -> bool:
        """Whether values pass unchanged, in another order."""
        return self in {FunctionKind.SPLIT_HEADS, FunctionKind.MERGE_HEADS}


# inputs and parameters that each kind takes
_SIGNATURES: dict[FunctionKind, tuple[int, frozenset[str]]] = {
    FunctionKind.SOFTMAX: (1, frozenset({"scale"})),
    FunctionKind.LAYER_NORM: (3, frozenset({"epsilon"})),
    FunctionKind.GELU: (1, frozenset()),
    FunctionKind.RELU: (1, frozenset()),
    FunctionKind.ADD: (2, frozenset()),
    FunctionKind.SCALE: (1, frozenset({"factor"})),
    FunctionKind.SPLIT_HEADS: (1, frozenset()),
    FunctionKind.MERGE_HEADS: (1, frozenset()),
}


@dataclass(frozen=True, slots=True)
class Function:
    """What happens between contractions, in floating point.

    Parameters
    ----------
    name
        Unique in its network.
    kind
        A `FunctionKind` or its text.
    inputs
        Names of tensors; ``layer_norm`` takes x, gamma, beta.
    output
        Name of the tensor it makes.
    axes
        One label for each axis of the output. ``softmax`` and ``layer_norm`` work along the last; ``split_heads``
        makes [batch, heads, sequence, d] of [batch * sequence, heads * d], and ``merge_heads`` undoes it.
    sizes : elements
        For each label, in the workload that costs are stated for.
    parameters
        ``softmax``: scale, on the scores; ``layer_norm``: epsilon; ``scale``: factor; others none.

    Examples
    --------
    >>> node = Function("softmax", "softmax", ("s",), "p", "mk", {"m": 2, "k": 3}, {"scale": 0.5})
    >>> node.elements(), node.elements({"m": 7})
    (6, 21)
    """

    name: str
    kind: FunctionKind | str
    inputs: tuple[str, ...]
    output: str
    axes: str
    sizes: Mapping[str, int] = field(hash=False)
    parameters: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_choice(f"kind of function {self.name}", str(self.kind), tuple(FunctionKind))
        kind = FunctionKind(self.kind)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "sizes", _checked_sizes(self.name, self.axes, self.sizes))
        object.__setattr__(self, "parameters", dict(self.parameters))
        count, names = _SIGNATURES[kind]
        if len(self.inputs) != count:
            msg = f"{kind.value} {self.name} must have {count} input(s), not {len(self.inputs)}"
            raise ValueError(msg)
        if set(self.parameters) != names:
            given = ", ".join(self.parameters) or "none"
            msg = f"parameters of {kind.value} {self.name} must be {', '.join(names) or 'none'}, not {given}"
            raise ValueError(msg)
        if kind is FunctionKind.SPLIT_HEADS and len(self.axes) != 4:
            msg = f"axes of split_heads {self.name} must be batch, heads, sequence and d, not {self.axes!r}"
            raise ValueError(msg)
        if kind is FunctionKind.MERGE_HEADS and len(self.axes) != 2:
            msg = f"axes of merge_heads {self.name} must be tokens and channels, not {self.axes!r}"
            raise ValueError(msg)

    def elements(self, sizes: Mapping[str, int] | None = None) -> int:
        """Count the elements of the output: what a vector unit handles.

        Parameters
        ----------
        sizes : elements
            Replace those of the node, by label; labels of other nodes are ignored.

        Returns
        -------
        count : elements
            Product of the sizes of `axes`.
        """
        actual = {**self.sizes, **(sizes or {})}
        return math.prod(actual[label] for label in self.axes)

    def apply(self, *arrays: FloatArray) -> FloatArray:
        """Compute the output from the inputs.

        Parameters
        ----------
        *arrays : float32 or float64
            The inputs in order, all of one dtype.

        Returns
        -------
        out : float32 or float64
            Dtype of the inputs.

        Raises
        ------
        ValueError
            If the number of arrays or a shape does not fit.
        """
        kind = FunctionKind(self.kind)
        if len(arrays) != len(self.inputs):
            msg = f"{kind.value} {self.name} must be applied to {len(self.inputs)} input(s), not {len(arrays)}"
            raise ValueError(msg)
        x = arrays[0]
        match kind:
            case FunctionKind.SOFTMAX:
                return softmax(x, self.parameters["scale"])
            case FunctionKind.LAYER_NORM:
                return layer_norm(x, arrays[1], arrays[2], self.parameters["epsilon"])
            case FunctionKind.GELU:
                return gelu(x)
            case FunctionKind.RELU:
                return np.maximum(x, 0)
            case FunctionKind.ADD:
                return x + arrays[1]
            case FunctionKind.SCALE:
                return x * x.dtype.type(self.parameters["factor"])
            case FunctionKind.SPLIT_HEADS:
                return self._split_heads(x)
            case FunctionKind.MERGE_HEADS:
                return x.transpose(0, 2, 1, 3).reshape(x.shape[0] * x.shape[2], x.shape[1] * x.shape[3])
        assert_never(kind)

    def _split_heads(self, x: FloatArray) -> FloatArray:
        """Make [batch, heads, sequence, d] of [batch * sequence, heads * d]; the batch follows the data."""
        heads, sequence = self.sizes[self.axes[1]], self.sizes[self.axes[2]]
        if x.ndim != 2 or x.shape[0] % sequence or x.shape[1] % heads:
            msg = f"input of {self.name} must be [tokens, channels] in multiples of [{sequence}, {heads}]"
            raise ValueError(f"{msg}, not {list(x.shape)}")
        split = x.reshape(x.shape[0] // sequence, sequence, heads, x.shape[1] // heads)
        return np.ascontiguousarray(split.transpose(0, 2, 1, 3))
