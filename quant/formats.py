"""Integer and float formats, roundings and overflow rules: the vocabulary every other module speaks."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.signedinteger[Any]]
FloatArray = npt.NDArray[np.floating[Any]]


class Rounding(enum.Enum):
    """How a value between two integers becomes one; the three HALF modes differ at ties only."""

    DOWN = "down"
    UP = "up"
    TOWARD_ZERO = "toward_zero"
    HALF_UP = "half_up"
    HALF_AWAY = "half_away"
    HALF_EVEN = "half_even"


class Overflow(enum.Enum):
    """What a value outside its format becomes."""

    WRAP = "wrap"
    SATURATE = "saturate"
    TRAP = "trap"


@dataclass(frozen=True, slots=True)
class IntFormat:
    """A two's complement or unsigned integer format.

    Parameters
    ----------
    bits : 1..64
        Width.
    signed
        Two's complement if true, else unsigned.
    narrow
        Leave out the lowest value, so that a signed format is symmetric about 0 (int8 is then -127..127).

    Examples
    --------
    >>> IntFormat.parse("int8"), IntFormat(8).lo, IntFormat(8).hi
    (IntFormat(bits=8, signed=True, narrow=False), -128, 127)
    >>> IntFormat.parse("int4_narrow").lo
    -7
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            msg = f"bits must be in 1..64, not {self.bits}"
            raise ValueError(msg)
        if self.narrow and not self.signed:
            msg = f"narrow must go with a signed format, not u{self.bits}"
            raise ValueError(msg)

    @property
    def lo(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest value."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest numpy integer type that holds every value."""
        width = next(w for w in (8, 16, 32, 64) if self.bits <= w)
        return np.dtype(f"{'int' if self.signed else 'uint'}{width}")

    @property
    def name(self) -> str:
        """Text that `parse` reads back: ``int8``, ``u8``, ``int8_narrow``."""
        return f"{'int' if self.signed else 'u'}{self.bits}{'_narrow' if self.narrow else ''}"

    def contains(self, values: npt.ArrayLike) -> bool:
        """Tell whether every value lies in `lo`..`hi`."""
        array = np.asarray(values)
        return array.size == 0 or (int(array.min()) >= self.lo and int(array.max()) <= self.hi)

    @classmethod
    def parse(cls, text: str) -> IntFormat:
        """Read ``int8``, ``u8``, ``uint8`` or ``int8_narrow``.

        Raises
        ------
        ValueError
            If `text` names no integer format.
        """
        match = re.fullmatch(r"(int|u|uint)([1-9]\d?)(_narrow)?", text)
        if match is None:
            msg = f"integer format must look like int8, u8 or int8_narrow, not {text!r}"
            raise ValueError(msg)
        return cls(int(match[2]), match[1] == "int", match[3] is not None)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A binary floating-point format.

    Parameters
    ----------
    name
        ``fp32``, ``fp16``, ``bf16``, ``e8m0``, or for a scale as integer hardware has it ``fixed16``: an unsigned
        multiplier of 16 bits, its highest bit set, and a shift of 8 bits.
    bits : bits
        Storage width.
    mantissa_bits : bits
        Stored fraction bits; 0 for the power-of-two format E8M0 of OCP MX.
    """

    name: str
    bits: int
    mantissa_bits: int

    def round(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Round to the nearest value of the format, ties to even, as float32.

        E8M0 takes the power of two at or below the magnitude (OCP MX 1.0, section 6.3).

        Raises
        ------
        ValueError
            If a finite value overflows the format, or E8M0 gets a value that is not positive.
        """
        wide = np.asarray(values, np.float32)
        match self.name:
            case "fp32":
                return wide
            case "fp16":
                rounded = _half(wide)
            case "bf16":
                raw = wide.view(np.uint32)
                with np.errstate(over="ignore"):
                    bumped = (raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
                rounded = np.where(np.isnan(wide), wide, bumped.view(np.float32)).astype(np.float32)
            case "e8m0":
                if not np.all((wide > 0) & np.isfinite(wide)):
                    msg = f"e8m0 holds positive finite values, not {wide.min() if wide.size else wide}"
                    raise ValueError(msg)
                _, exponent = np.frexp(wide)
                rounded = np.ldexp(np.ones_like(wide), exponent - 1).astype(np.float32)
            case _ if self.name.startswith("fixed"):
                mantissa, exponent = np.frexp(wide)
                multiplier = np.rint(np.ldexp(mantissa.astype(np.float64), self.mantissa_bits + 1))
                with np.errstate(over="ignore"):
                    rounded = np.ldexp(multiplier, exponent - (self.mantissa_bits + 1)).astype(np.float32)
            case _:
                msg = f"float format must be one of fp32, fp16, bf16, e8m0 or look like fixed16, not {self.name!r}"
                raise ValueError(msg)
        if np.any(np.isinf(rounded) & np.isfinite(wide)):
            msg = f"value must fit {self.name}, not {wide[np.isinf(rounded) & np.isfinite(wide)].flat[0]}"
            raise ValueError(msg)
        return rounded

    def __str__(self) -> str:
        return self.name


def _half(wide: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round float32 to the values of IEEE half precision, infinities included."""
    magnitude = np.abs(wide)
    if not magnitude.size or not magnitude.max() < 65504:  # NaN, infinity and what rounds to it: numpy's cast knows
        with np.errstate(over="ignore"):
            return wide.astype(np.float16).astype(np.float32)
    # Twice as fast as two casts: cut 13 bits of the fraction, ties to even.
    raw = np.ascontiguousarray(wide).view(np.uint32)
    cut = (raw + np.uint32(0xFFF) + ((raw >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)
    rounded = np.asarray(cut).view(np.float32).reshape(wide.shape)
    subnormal = magnitude < np.float32(2**-14)
    if subnormal.any():  # multiples of 2**-24
        rounded[subnormal] = np.rint(wide[subnormal] * np.float32(2**24)) * np.float32(2**-24)
    return rounded


FP32 = FloatFormat("fp32", 32, 23)
FP16 = FloatFormat("fp16", 16, 10)
BF16 = FloatFormat("bf16", 16, 7)
E8M0 = FloatFormat("e8m0", 8, 0)

_FLOATS = {f.name: f for f in (FP32, FP16, BF16, E8M0)}

Format = IntFormat | FloatFormat


@functools.cache
def parse_format(name: str) -> Format:
    """Read the name of an integer or float format.

    Raises
    ------
    ValueError
        If `name` is neither.

    Examples
    --------
    >>> str(parse_format("fp16")), parse_format("u8").hi
    ('fp16', 255)
    """
    if name in _FLOATS:
        return _FLOATS[name]
    fixed = re.fullmatch(r"fixed([1-9]\d?)", name)
    if fixed is not None and 2 <= int(fixed[1]) <= 24:
        return FloatFormat(name, int(fixed[1]) + 8, int(fixed[1]) - 1)
    try:
        return IntFormat.parse(name)
    except ValueError:
        msg = f"format must be one of {', '.join(_FLOATS)} or look like int8, u8, int8_narrow, not {name!r}"
        raise ValueError(msg) from None
