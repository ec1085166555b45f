"""Scale layouts: which elements of a tensor share a scale.

A layout is a product of levels. A level lists the axes it varies along, each with a block size; axes it does not list
share one scale along their whole length. One grammar serves Python, YAML and the command line::

    layout = [code " "] level { " * " level }
    level  = ("1" | axis ":" block { "," axis ":" block }) ["@" kind]
    kind   = "real" | "int" | "pow2"
    code   = "codebook(int8)" | "codebook(real)" | "pow2"
    name   = per_tensor | per_token | per_channel | per_channel_in | per_head | per_element
           | group:G | block:GxG | mx:G                                 (instead of the levels)

A block need not divide its axis: the last one is shorter.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from .contraction import Contraction, Operand
from .formats import IntFormat

Kind = Literal["real", "int", "pow2"]
KINDS: tuple[Kind, ...] = ("real", "int", "pow2")
SCALE_BITS: dict[Kind, int] = {"real": 32, "int": 8, "pow2": 8}
"""Storage of one scale: float32; an 8-bit integer; E8M0 of OCP MX 1.0."""


class ScaleLayoutError(ValueError):
    """A layout that cannot be read, does not fit its tensor, or has no verdict that was asked for."""


@dataclass(frozen=True, slots=True)
class Level:
    """One tensor of scales.

    Parameters
    ----------
    blocks
        ``(axis, block)`` pairs; `block` consecutive elements of the axis share a scale. Empty for one scale in all.
    kind
        ``real``: any positive number; ``int``: a positive integer; ``pow2``: a power of two.

    Examples
    --------
    >>> level = parse_layout("m:1,k:128", "mk").levels[0]
    >>> level.block_size("mk"), level.scale_shape("mk", (4, 300))
    ((1, 128), (4, 3))
    """

    blocks: tuple[tuple[str, int], ...] = ()
    kind: Kind = "real"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}"
            raise ScaleLayoutError(msg)
        for axis, block in self.blocks:
            if block < 1:
                msg = f"block must be at least 1, not {axis}:{block}"
                raise ScaleLayoutError(msg)
        axes = [axis for axis, _ in self.blocks]
        if len(set(axes)) != len(axes):
            msg = f"axis must occur once in a level, not as in {self}"
            raise ScaleLayoutError(msg)

    def block_of(self, axis: str) -> int | None:
        """Block along an axis, or None where the whole axis shares a scale."""
        return next((block for name, block in self.blocks if name == axis), None)

    def block_size(self, axes: Sequence[str]) -> tuple[int, ...]:
        """Block along each axis of a tensor; -1 is the whole axis."""
        return tuple(-1 if (block := self.block_of(axis)) is None else block for axis in axes)

    def scale_shape(self, axes: Sequence[str], shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the scales of a tensor: 1 where the axis shares a scale, else the number of blocks."""
        return tuple(
            1 if block == -1 else math.ceil(size / block)
            for size, block in zip(shape, self.block_size(axes), strict=True)
        )

    def expand(self, scale: npt.NDArray[Any], axes: Sequence[str], shape: Sequence[int]) -> npt.NDArray[Any]:
        """Repeat each scale over the elements that share it.

        Parameters
        ----------
        scale : [scale_shape]
            One value per block, of any dtype.
        axes, shape
            Labels and sizes of the tensor.

        Returns
        -------
        expanded : [shape]
            A read-only broadcast where no axis is blocked.

        Raises
        ------
        ScaleLayoutError
            If `scale` has another shape than `scale_shape`.
        """
        expected = self.scale_shape(axes, shape)
        if scale.shape != expected:
            msg = f"scales of {self} must have shape {expected} on {tuple(shape)}, not {scale.shape}"
            raise ScaleLayoutError(msg)
        for axis, (size, block) in enumerate(zip(shape, self.block_size(axes), strict=True)):
            if block > 1 and scale.shape[axis] > 1:
                scale = np.repeat(scale, block, axis=axis).take(range(size), axis=axis)
        return np.broadcast_to(scale, tuple(shape))

    def __str__(self) -> str:
        text = ",".join(f"{axis}:{block}" for axis, block in self.blocks) or "1"
        return text if self.kind == "real" else f"{text}@{self.kind}"


@dataclass(frozen=True, slots=True)
class ScaleLayout:
    """The scale layout of one operand: its axes, its levels, and how its codes become integers.

    Parameters
    ----------
    axes
        Labels of the operand.
    levels
        The scale of an element is the product of its levels' scales.
    code
        ``affine``: the codes are the integers. ``codebook(int8)``: a table of integers decodes them before the MAC;
        ``codebook(real)``: a table of real numbers; ``pow2``: codes are signs and exponents.

    Examples
    --------
    >>> layout = parse_layout("n:1 * n:1,k:16@int", "kn")
    >>> str(layout), [level.kind for level in layout.levels]
    ('n:1 * n:1,k:16@int', ['real', 'int'])
    """

    axes: tuple[str, ...]
    levels: tuple[Level, ...] = (Level(),)
    code: str = "affine"

    def __post_init__(self) -> None:
        if not self.levels:
            msg = f"layout must have at least one level, not {self.levels}"
            raise ScaleLayoutError(msg)
        for level in self.levels:
            for axis, _ in level.blocks:
                if axis not in self.axes:
                    msg = f"axis must be one of {', '.join(self.axes)}, not {axis!r} in {str(level)!r}"
                    raise ScaleLayoutError(msg)
        if self.code not in ("affine", "pow2", "codebook(real)"):
            self.table_format  # noqa: B018  raises where the code has no format

    @property
    def table_format(self) -> IntFormat | None:
        """Format of the integers in the table of a codebook, None for every other code."""
        if self.code in ("affine", "pow2", "codebook(real)"):
            return None
        match = re.fullmatch(r"codebook\((\w+)\)", self.code)
        if match is None:
            msg = f"code must be affine, pow2, codebook(real) or codebook(int8), not {self.code!r}"
            raise ScaleLayoutError(msg)
        return IntFormat.parse(match[1])

    @property
    def varying(self) -> tuple[str, ...]:
        """Axes that some level lists, in the order of the operand."""
        return tuple(a for a in self.axes if any(level.block_of(a) for level in self.levels))

    def scale_shapes(self, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Shape of each level's scales for a tensor."""
        return tuple(level.scale_shape(self.axes, shape) for level in self.levels)

    def scale_bits(self, shape: Sequence[int]) -> int:
        """Bits that all scales of a tensor take."""
        return sum(math.prod(level.scale_shape(self.axes, shape)) * SCALE_BITS[level.kind] for level in self.levels)

    def without(self, axes: Sequence[str]) -> ScaleLayout:
        """Return the layout with those axes sharing one scale; levels that list nothing more fall away."""
        kept = [Level(tuple(b for b in lv.blocks if b[0] not in axes), lv.kind) for lv in self.levels]
        levels = tuple(dict.fromkeys(lv for lv in kept if lv.blocks)) or (Level(),)
        return ScaleLayout(self.axes, levels, self.code)

    def __str__(self) -> str:
        text = " * ".join(map(str, self.levels))
        return text if self.code == "affine" else f"{self.code} {text}"


def parse_layout(
    text: str | ScaleLayout,
    axes: Sequence[str],
    contraction: Contraction | str | None = None,
    operand: Operand | None = None,
) -> ScaleLayout:
    """Read a layout in the grammar of this module.

    Parameters
    ----------
    text
        A name, levels such as ``m:1,k:128``, or a layout, which is checked and returned.
    axes
        Labels of the operand.
    contraction, operand
        Names that speak of rows, output channels or the reduction need them. `per_token`: every axis of lhs that is
        not summed; in a convolution every pixel. `per_channel`: every output channel of rhs. `per_channel_in`: the
        reduction axes that both operands carry. `group:G`: blocks of G along the reduction, for each row or output
        channel. `mx:G`: the same with powers of two. `block:AxB`: blocks along both axes of a matrix, in its order.

    Raises
    ------
    ScaleLayoutError
        If the text is no layout, or does not fit the axes.

    Examples
    --------
    >>> str(parse_layout("group:128", "kn", "mk,kn->mn", "rhs"))
    'k:128,n:1'
    >>> str(parse_layout("per_tensor", "mk"))
    '1'
    """
    if isinstance(text, ScaleLayout):
        if text.axes != tuple(axes):
            msg = f"layout must have axes {''.join(axes)}, not {''.join(text.axes)}"
            raise ScaleLayoutError(msg)
        return text
    parsed = None if contraction is None else Contraction.parse(contraction)
    return _parse(text, tuple(axes), parsed, operand)


@functools.lru_cache(maxsize=4096)
def _parse(text: str, axes: tuple[str, ...], contraction: Contraction | None, operand: Operand | None) -> ScaleLayout:
    head, _, rest = text.strip().partition(" ")
    code = "affine"
    if head == "pow2" or head.startswith("codebook"):
        code, text = head, rest.strip() or "per_tensor"
    named = re.fullmatch(r"(per_\w+|group|block|mx)(?::(\w+))?", text.strip())
    levels: tuple[Level, ...]
    if named is not None:
        levels = (_named(named[1], named[2], axes, contraction, operand),)
    else:
        levels = tuple(_parse_level(part, text) for part in text.split("*"))
    return ScaleLayout(axes, levels, code)


def _parse_level(text: str, whole: str) -> Level:
    body, at, kind = text.strip().partition("@")
    if at and kind not in KINDS:
        msg = f"kind must be one of {', '.join(KINDS)}, not {kind!r} in {whole!r}"
        raise ScaleLayoutError(msg)
    blocks: list[tuple[str, int]] = []
    for pair in body.split(",") if body.strip() != "1" else []:
        match = re.fullmatch(r"\s*([A-Za-z]):(\d+)\s*", pair)
        if match is None:
            msg = f"layout must be a name or axis:block pairs such as 'm:1,k:128', not {whole!r}"
            raise ScaleLayoutError(msg)
        blocks.append((match[1], int(match[2])))
    return Level(tuple(blocks), cast("Kind", kind or "real"))


def _named(
    name: str, setting: str | None, axes: tuple[str, ...], contraction: Contraction | None, operand: Operand | None
) -> Level:
    takes = {"group": r"[1-9]\d*", "mx": r"[1-9]\d*", "block": r"[1-9]\d*x[1-9]\d*"}
    known = ("per_tensor", "per_token", "per_channel", "per_channel_in", "per_head", "per_element", *takes)
    if name not in known:
        msg = f"layout must be one of {', '.join(known)} or axis:block pairs, not {name!r}"
        raise ScaleLayoutError(msg)
    if (name in takes) != (setting is not None) or (setting and not re.fullmatch(takes[name], setting)):
        example = {"group": "group:128", "mx": "mx:32", "block": "block:128x128"}.get(name, name)
        msg = f"layout must look like {example!r}, not {name + (f':{setting}' if setting else '')!r}"
        raise ScaleLayoutError(msg)
    if name == "per_tensor":
        return Level()
    if name == "per_element":
        return Level(tuple((axis, 1) for axis in axes))
    if name == "per_head" and contraction is None and "h" in axes:
        return Level((("h", 1),))
    if contraction is None or operand is None:
        msg = f"{name} must come with a contraction and an operand, not axes {''.join(axes)} alone"
        raise ScaleLayoutError(msg)
    if contraction.labels_of(operand) != axes:
        msg = f"axes must be those of {operand}, {''.join(contraction.labels_of(operand))}, not {''.join(axes)}"
        raise ScaleLayoutError(msg)
    return _Names(contraction, operand, axes).level(name, setting or "")


@dataclass(frozen=True, slots=True)
class _Names:
    """What the names mean for one operand of one contraction."""

    contraction: Contraction
    operand: Operand
    axes: tuple[str, ...]

    def level(self, name: str, setting: str) -> Level:
        shared = self.contraction.shared
        match name:
            case "per_token" | "per_channel":
                self._check_side(name)
                return self._ones(self.outer)
            case "per_channel_in":
                if not shared:
                    msg = f"per_channel_in must have a reduction axis in both operands, not {self.contraction}"
                    raise ScaleLayoutError(msg)
                return self._ones(shared)
            case "per_head":
                if "h" not in self.contraction.batch:
                    msg = f"per_head must have a batch axis h, not {self.contraction}"
                    raise ScaleLayoutError(msg)
                return self._ones(("h",))
            case "block":
                return self._block(setting)
            case _:
                if len(shared) != 1:
                    msg = f"{name} must have one reduction axis in both operands, not {self.contraction}"
                    raise ScaleLayoutError(msg)
                blocks = {**dict.fromkeys(self.outer, 1), shared[0]: int(setting)}
                kind: Kind = "pow2" if name == "mx" else "real"
                return Level(tuple((axis, blocks[axis]) for axis in self.axes if axis in blocks), kind)

    @property
    def outer(self) -> tuple[str, ...]:
        """Axes that the output keeps: of lhs the rows, pixels included, of rhs the output channels."""
        taps = {link.rhs for link in self.contraction.links}
        groups = set(self.contraction.batch) if self.contraction.links and self.operand == "lhs" else set()
        skipped = {*self.contraction.shared, *taps, *groups}
        return tuple(axis for axis in self.axes if axis not in skipped)

    def _ones(self, labels: tuple[str, ...]) -> Level:
        return Level(tuple((axis, 1) for axis in self.axes if axis in labels))

    def _check_side(self, name: str) -> None:
        side = "lhs" if name == "per_token" else "rhs"
        if self.operand != side:
            example = f"{self.axes[0]}:1"
            msg = f"{name} must be a layout of {side}, not of {self.operand}, where an axis says it: {example!r}"
            raise ScaleLayoutError(msg)

    def _block(self, setting: str) -> Level:
        batch = self.contraction.batch
        matrix = [axis for axis in self.axes if axis not in batch]
        if len(matrix) != 2:
            msg = f"block:{setting} must be a layout of a matrix, not of axes {''.join(matrix)}"
            raise ScaleLayoutError(msg)
        blocks = {**dict.fromkeys(batch, 1), **dict(zip(matrix, map(int, setting.split("x")), strict=True))}
        return Level(tuple((axis, blocks[axis]) for axis in self.axes))
