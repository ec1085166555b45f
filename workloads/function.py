"""A Function: what happens between contractions, in floating point."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from .layer import check_choice
from .nonlinear import gelu, layer_norm, softmax
from .tensors import FloatArray


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
        What it does; its text, ``softmax``, is taken too.
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
    >>> node = Function("softmax", FunctionKind.SOFTMAX, ("s",), "p", "mk", {"m": 2, "k": 3}, {"scale": 0.5})
    >>> node.elements(), node.elements({"m": 7})
    (6, 21)
    """

    name: str
    kind: FunctionKind
    inputs: tuple[str, ...]
    output: str
    axes: str
    sizes: Mapping[str, int] = field(hash=False)
    parameters: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_choice(f"kind of function {self.name}", str(self.kind), tuple(FunctionKind))
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
        kind = self.kind
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
