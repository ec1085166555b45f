"""A Function: what happens between contractions, in floating point."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from .layer import check_choice
from .nonlinear import gelu, layer_norm, max_pool, rms_norm, rotary, silu, softmax
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
    """What a Function does; the last three only move data."""

    SOFTMAX = "softmax"
    LAYER_NORM = "layer_norm"
    RMS_NORM = "rms_norm"
    GELU = "gelu"
    SILU = "silu"
    RELU = "relu"
    RELU6 = "relu6"
    ADD = "add"
    MULTIPLY = "multiply"
    SCALE = "scale"
    ROTARY = "rotary"
    MAX_POOL = "max_pool"
    MEAN = "mean"
    SPLIT_HEADS = "split_heads"
    MERGE_HEADS = "merge_heads"
    PICK_LAST = "pick_last"

    @property
    def moves_only(self) -> bool:
        """Whether values pass unchanged: in another order, or some of them."""
        return self in {FunctionKind.SPLIT_HEADS, FunctionKind.MERGE_HEADS, FunctionKind.PICK_LAST}


# inputs and parameters that each kind takes
_SIGNATURES: dict[FunctionKind, tuple[int, frozenset[str]]] = {
    FunctionKind.SOFTMAX: (1, frozenset({"scale"})),
    FunctionKind.LAYER_NORM: (3, frozenset({"epsilon"})),
    FunctionKind.RMS_NORM: (2, frozenset({"epsilon"})),
    FunctionKind.GELU: (1, frozenset()),
    FunctionKind.SILU: (1, frozenset()),
    FunctionKind.RELU: (1, frozenset()),
    FunctionKind.RELU6: (1, frozenset()),
    FunctionKind.ADD: (2, frozenset()),
    FunctionKind.MULTIPLY: (2, frozenset()),
    FunctionKind.SCALE: (1, frozenset({"factor"})),
    FunctionKind.ROTARY: (1, frozenset({"base", "first"})),
    FunctionKind.MAX_POOL: (1, frozenset({"window", "stride", "padding"})),
    FunctionKind.MEAN: (1, frozenset()),
    FunctionKind.SPLIT_HEADS: (1, frozenset()),
    FunctionKind.MERGE_HEADS: (1, frozenset()),
    FunctionKind.PICK_LAST: (1, frozenset({"sequence"})),
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
        Names of tensors; ``layer_norm`` takes x, gamma, beta, ``rms_norm`` x, gamma.
    output
        Name of the tensor it makes.
    axes
        One label for each axis of the output. ``softmax`` and the norms work along the last; ``mean`` is taken over
        the axes of the input that follow; ``split_heads`` makes [batch, heads, sequence, d] of
        [batch * sequence, heads * d], or with the heads in groups [batch, groups, heads, sequence, d], and
        ``merge_heads`` undoes it; ``pick_last`` takes the last of every `sequence` rows.
    sizes : elements
        For each label, in the workload that costs are stated for.
    parameters
        ``softmax``: scale, on the scores; norms: epsilon; ``scale``: factor; ``rotary``: base of the angles and first
        position; ``max_pool``: window, stride, padding of the last two axes; ``pick_last``: sequence; others none.

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
        if kind is FunctionKind.SPLIT_HEADS and len(self.axes) not in {4, 5}:
            msg = f"axes of split_heads {self.name} must be batch, heads (or groups, heads), sequence and d"
            msg = f"{msg}, not {self.axes!r}"
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

    def apply(self, *arrays: FloatArray) -> FloatArray:  # noqa: C901, PLR0912  one case for each kind
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
            case FunctionKind.RMS_NORM:
                return rms_norm(x, arrays[1], self.parameters["epsilon"])
            case FunctionKind.GELU:
                return gelu(x)
            case FunctionKind.SILU:
                return silu(x)
            case FunctionKind.RELU:
                return np.maximum(x, 0)
            case FunctionKind.RELU6:
                return np.clip(x, 0, 6)
            case FunctionKind.ADD:
                return x + arrays[1]
            case FunctionKind.MULTIPLY:
                return x * arrays[1]
            case FunctionKind.SCALE:
                return x * x.dtype.type(self.parameters["factor"])
            case FunctionKind.ROTARY:
                return rotary(x, self.parameters["base"], int(self.parameters["first"]))
            case FunctionKind.MAX_POOL:
                return max_pool(x, *(int(self.parameters[name]) for name in ("window", "stride", "padding")))
            case FunctionKind.MEAN:
                return np.asarray(x.mean(axis=tuple(range(len(self.axes), x.ndim))))
            case FunctionKind.SPLIT_HEADS:
                return self._split_heads(x)
            case FunctionKind.MERGE_HEADS:
                return np.moveaxis(x, -2, 1).reshape(x.shape[0] * x.shape[-2], -1)
            case FunctionKind.PICK_LAST:
                sequence = int(self.parameters["sequence"])
                return np.ascontiguousarray(x[sequence - 1 :: sequence])
        assert_never(kind)

    def _split_heads(self, x: FloatArray) -> FloatArray:
        """Make [batch, heads, sequence, d] of [batch * sequence, heads * d]; the batch follows the data."""
        *heads, sequence = (self.sizes[label] for label in self.axes[1:-1])
        if x.ndim != 2 or x.shape[0] % sequence or x.shape[1] % math.prod(heads):
            msg = f"input of {self.name} must be [tokens, channels] in multiples of [{sequence}, {math.prod(heads)}]"
            raise ValueError(f"{msg}, not {list(x.shape)}")
        split = x.reshape(x.shape[0] // sequence, sequence, *heads, x.shape[1] // math.prod(heads))
        return np.ascontiguousarray(np.moveaxis(split, 1, -2))
