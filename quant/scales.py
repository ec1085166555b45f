"""From ranges to scales and zero points: one level, several levels, powers of two.

All arithmetic is float32, one rounding an operation. Scales are divisors: ``q = round(x / scale) + zero_point``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .blocks import Shape, block_reduce, block_shape, scale_shape, spread
from .formats import E8M0, FP16, FP32, FloatFormat, IntArray, IntFormat
from .layout import ScaleLayout

Float32 = npt.NDArray[np.float32]
Power = Literal["floor", "ceil", "even", "rceil"]
POWERS = ("floor", "ceil", "even", "rceil")


@dataclass(frozen=True, eq=False, init=False)
class Range:
    """Clipping range of each block, in units of the tensor.

    Parameters
    ----------
    lo, hi : float32 [scale shape]
        Bounds; they need not contain 0 (`scale_from_range` extends them).

    Raises
    ------
    ValueError
        If a bound is not finite, or ``lo > hi`` somewhere.
    """

    lo: Float32
    hi: Float32

    def __init__(self, lo: npt.ArrayLike, hi: npt.ArrayLike) -> None:
        lo, hi = np.asarray(lo, np.float32), np.asarray(hi, np.float32)
        if lo.shape != hi.shape:
            msg = f"lo and hi must have one shape, not {lo.shape} and {hi.shape}"
            raise ValueError(msg)
        if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
            msg = "range must be finite, not NaN or infinite"
            raise ValueError(msg)
        if np.any(lo > hi):
            at = np.argmax(lo > hi)
            msg = f"lo must be at most hi, not {lo.flat[at]} and {hi.flat[at]}"
            raise ValueError(msg)
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", hi)

    @property
    def bound(self) -> Float32:
        """Largest magnitude in the range."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))


def round_scale(scale: Float32, scale_format: FloatFormat = FP32) -> Float32:
    """Round needed scales to a float format: nearest, ties to even.

    0, for a block of zeros or one that float32 cannot divide, becomes 1.

    The result is never below the smallest normal float32, ``2**-126``, or for fp16 the smallest subnormal,
    ``2**-24``, so that it can be divided by. E8M0 takes the power of two at or above the need, so that nothing is
    clipped.

    Raises
    ------
    ValueError
        If a scale overflows the format.
    """
    least = np.float32(2.0**-24 if scale_format == FP16 else 2.0**-126)
    wanted = np.where(scale == 0, np.float32(1), np.maximum(scale, least))
    if scale_format == E8M0:
        mantissa, exponent = np.frexp(wanted)
        power: Float32 = np.ldexp(np.ones_like(wanted), exponent - (mantissa == 0.5))
        return power
    return scale_format.round(wanted)


def power_scale(bound: Float32, largest: int, power: Power = "floor") -> Float32:
    r"""Power-of-two scale for magnitudes up to `bound`.

    With m magnitude bits of which one is the integer part (int8: m = 6 fraction bits, elements in :math:`\pm
    127/64`):

    ``floor``: :math:`2^{\lfloor\log_2 b\rfloor - m}` (OCP MX 1.0, section 6.3; clips up to half a power);
    ``ceil``: :math:`2^{\lceil\log_2 b\rceil - m}`;
    ``even``: as ``floor`` after rounding b half up to m fraction bits (AMD Quark's name);
    ``rceil``: the smallest power of two that does not clip, :math:`2^{\lceil\log_2 (b / hi)\rceil}` (Blackwell
    ``cvt.rp``).

    Parameters
    ----------
    bound : float32 [...]
        Largest magnitudes; 0 gives 1.
    largest
        Largest integer, such as 127.
    power
        Derivation.

    Examples
    --------
    >>> bounds = np.array([1, 1.5, 1.9999], np.float32)
    >>> np.log2(power_scale(bounds, 127, "floor")), np.log2(power_scale(bounds, 127, "ceil"))
    (array([-6., -6., -6.], dtype=float32), array([-6., -5., -5.], dtype=float32))
    >>> np.log2(power_scale(bounds, 127, "even")), np.log2(power_scale(bounds, 127, "rceil"))
    (array([-6., -6., -5.], dtype=float32), array([-6., -6., -5.], dtype=float32))
    """
    if power not in POWERS:
        msg = f"power must be one of {', '.join(POWERS)}, not {power!r}"
        raise ValueError(msg)
    mantissa, exponent = np.frexp(bound)
    fraction_bits = largest.bit_length() - 1
    match power:
        case "floor":
            exponent = exponent - 1 - fraction_bits
        case "ceil":
            exponent = exponent - (mantissa == 0.5) - fraction_bits
        case "even":
            wraps = mantissa.astype(np.float64) >= 1 - 2.0 ** -(fraction_bits + 2)
            exponent = exponent - 1 + wraps - fraction_bits
        case "rceil":
            exponent = exponent - largest.bit_length()
            exponent = exponent + (np.ldexp(float(largest), exponent) < bound)
    scale = np.ldexp(np.float32(1), np.clip(exponent, -126, 127))
    return np.where(bound == 0, np.float32(1), scale).astype(np.float32)


def check_symmetric(lo: Float32, fmt: IntFormat) -> None:
    """Refuse negative values where the format has none and no zero point can make room.

    Raises
    ------
    ValueError
        If the format has no positive value, or is unsigned and the range starts below 0.
    """
    if fmt.hi < 1:
        msg = f"format must hold a positive value, not {fmt}"
        raise ValueError(msg)
    if not fmt.signed and np.any(lo < 0):
        msg = (
            f"x must not be negative in the symmetric unsigned format {fmt}, not {lo.min()}: "
            "choose a signed format or symmetric=False"
        )
        raise ValueError(msg)


def scale_from_range(
    range: Range,  # noqa: A002  the word of the field
    format: IntFormat | str = "int8",  # noqa: A002  the word of the field
    symmetric: bool = True,
    *,
    scale_format: FloatFormat = FP32,
) -> tuple[Float32, IntArray | None]:
    r"""Scale and zero point that map a range onto a format.

    Symmetric: :math:`s = \max(|lo|, |hi|) / q_{hi}`, no zero point. Asymmetric: the range is first extended to
    contain 0, then :math:`s = (hi - lo) / (q_{hi} - q_{lo})` and :math:`z = \mathrm{clamp}(\mathrm{round}(q_{lo} -
    lo / s))`, half to even, so that 0 is exactly z (ONNX ``DynamicQuantizeLinear`` for u8). A range of zeros has
    scale 1.

    Parameters
    ----------
    range : [scale shape]
        Bounds of each block.
    format
        Format of the codes.
    symmetric
        Without a zero point if true.
    scale_format
        Format the scale is stored in; the zero point belongs to the rounded scale.

    Returns
    -------
    scale : float32 [scale shape]
    zero_point : int32 [scale shape] or None

    Raises
    ------
    ValueError
        If a symmetric unsigned format meets a negative bound, or ``hi - lo`` overflows float32.

    Examples
    --------
    >>> scale, zero_point = scale_from_range(Range([-1.0], [3.0]), "u8", symmetric=False)
    >>> scale, zero_point
    (array([0.01568628], dtype=float32), array([64], dtype=int32))
    """
    fmt = IntFormat.parse(format) if isinstance(format, str) else format
    if symmetric:
        check_symmetric(range.lo, fmt)
        return round_scale(range.bound / np.float32(fmt.hi), scale_format), None
    lo, hi = np.minimum(range.lo, np.float32(0)), np.maximum(range.hi, np.float32(0))
    with np.errstate(over="ignore"):
        width = hi - lo
    if np.any(np.isinf(width)):
        msg = "hi - lo must be finite in float32, not infinite"
        raise ValueError(msg)
    scale = round_scale(np.divide(width, fmt.hi - fmt.lo, dtype=np.float32), scale_format)
    zero = np.rint(np.float32(fmt.lo) - lo / scale)
    return scale, np.clip(zero, fmt.lo, fmt.hi).astype(np.int32)


@dataclass(frozen=True)
class ScaleRule:
    """How the scales of a layout's levels are chosen and stored.

    Parameters
    ----------
    format
        Format of the codes.
    scale_format
        Of real levels.
    integer_bits : bits
        Width of the unsigned scales of ``@int`` levels. They are rounded up, so that nothing is clipped and none is
        0.
    power
        Derivation of ``@pow2`` levels, stored as E8M0.
    largest
        Integer that the largest magnitude maps to; 0 stands for the largest of the format.
    """

    format: IntFormat
    scale_format: FloatFormat = FP32
    integer_bits: int = 8
    power: Power = "floor"
    largest: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "largest", self.largest or self.format.hi)
        if not 1 <= self.integer_bits <= 16:
            msg = f"integer_bits must be in 1..16, not {self.integer_bits}"
            raise ValueError(msg)

    def bits(self, kind: str) -> int:
        """Storage width of one scale of a level, in bits."""
        return {"real": self.scale_format.bits, "int": self.integer_bits, "pow2": E8M0.bits}[kind]


def cell_shape(layouts: tuple[ScaleLayout, ...], shape: Shape) -> Shape:
    """Largest block that lies inside one block of every level of every layout."""
    axes = layouts[0].axes
    sizes = [level.block_size(axes) for layout in layouts for level in layout.levels]
    cell = []
    for n, along in zip(shape, zip(*sizes, strict=True), strict=True):
        cut = [b for b in along if b != -1 and b < n]
        cell.append(math.gcd(*cut) if cut else n)
    return tuple(cell)


def coarsen(values: npt.NDArray[Any], cell: Shape, block: Shape) -> npt.NDArray[Any]:
    """Largest value of the cells in each block."""
    return block_reduce(np.maximum, values, tuple(-(-b // c) for b, c in zip(block, cell, strict=True)))


def refine(values: npt.NDArray[Any], block: Shape, cell: Shape, shape: Shape) -> npt.NDArray[Any]:
    """Give each cell the value of its block."""
    return spread(values, tuple(-(-b // c) for b, c in zip(block, cell, strict=True)), scale_shape(cell, shape))


def fit_levels(bound: Float32, cell: Shape, shape: Shape, layout: ScaleLayout, rule: ScaleRule) -> tuple[Float32, ...]:
    """Choose the scales of all levels, the first first, so that their product covers the bound of every cell.

    A level takes what the levels before it leave, over the largest product that the integer levels after it can
    reach.

    Parameters
    ----------
    bound : float32 [scale shape of `cell`]
        Largest magnitude of each cell.
    cell, shape
        Block shape of the cells, and shape of the tensor.
    layout, rule
        Where scales vary, and how they are stored.

    Returns
    -------
    scales
        One array a level, in the level's scale shape.
    """
    top = np.float32(rule.largest)
    largest = 2**rule.integer_bits - 1
    later = sum(level.kind == "int" for level in layout.levels)
    left, scales = bound, []
    for level in layout.levels:
        block = block_shape(level.block_size(layout.axes), shape)
        needed = coarsen(left, cell, block)
        later -= level.kind == "int"
        reach = np.float32(largest**later)
        if level.kind == "int":
            scale = np.clip(np.ceil(needed / (top * reach)), np.float32(1), np.float32(largest))
        elif level.kind == "pow2":
            scale = power_scale(np.divide(needed, reach, dtype=np.float32), rule.largest, rule.power)
        else:
            scale = round_scale(np.divide(needed, top * reach, dtype=np.float32), rule.scale_format)
        scales.append(scale)
        left = left / refine(scale, block, cell, shape)
    return tuple(scales)


def combine_levels(scales: tuple[Float32, ...], cell: Shape, shape: Shape, layout: ScaleLayout) -> Float32:
    """Multiply the levels' scales for each cell, left to right in float32."""
    product: Float32 | None = None
    for level, scale in zip(layout.levels, scales, strict=True):
        each = refine(scale, block_shape(level.block_size(layout.axes), shape), cell, shape)
        product = each if product is None else product * each
    if product is None:
        msg = f"layout must have at least one level, not {layout}"
        raise ValueError(msg)
    return product
