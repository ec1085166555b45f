"""The truth that fast code is held to: Python int and Fraction only, written from the definitions.

Nothing of the project is imported, nothing is fast. Floats appear as exact Fractions; `to_float` rounds a Fraction
to the nearest value of a binary format, ties to even, as IEEE 754 prescribes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


def rounded(x: Fraction, rounding: str) -> int:
    """Round an exact number to an integer by the name of a rounding."""
    whole, half = floor(x), Fraction(1, 2)
    rest = x - whole
    match rounding:
        case "DOWN":
            return whole
        case "UP":
            return ceil(x)
        case "TOWARD_ZERO":
            return whole if x >= 0 else ceil(x)
        case "HALF_UP":
            return whole + (rest >= half)
        case "HALF_AWAY":
            return whole + (rest > half or (rest == half and x > 0))
        case "HALF_EVEN":
            return whole + (rest > half or (rest == half and whole % 2 == 1))
    raise KeyError(rounding)


def rounding_shift(x: int, shift: int, rounding: str) -> int:
    return rounded(Fraction(x, 2**shift), rounding)


def fit(x: int, bits: int, overflow: str) -> int:
    """Bring a value into a two's complement register of `bits`."""
    lo, size = -(1 << (bits - 1)), 1 << bits
    match overflow:
        case "WRAP":
            return (x - lo) % size + lo
        case "SATURATE":
            return min(max(x, lo), lo + size - 1)
    raise KeyError(overflow)


@dataclass(frozen=True)
class Sum:
    """Register, steps that overflowed, first of them, and the range of the register that never overflows."""

    register: int
    overflows: int
    first: int
    low: int
    high: int


def accumulate(
    lhs: Sequence[int],
    rhs: Sequence[int],
    bits: int,
    overflow: str,
    *,
    depth: int = 1,
    initial: int = 0,
    tree_bits: int | None = None,
    tree_overflow: str = "SATURATE",
    dropped: int = 0,
    spill: int | None = None,
    spill_bits: int = 32,
    spill_overflow: str = "WRAP",
) -> Sum:
    """Accumulate one output, step by step."""
    products = [int(a) * int(b) for a, b in zip(lhs, rhs, strict=True)]
    groups = [products[i : i + depth] for i in range(0, len(products), depth)]
    register = 0 if spill else initial
    outer = initial
    exact = register
    low = high = exact
    overflows, first = 0, -1
    for step, group in enumerate(groups):
        left = False
        addend = sum(group)
        if tree_bits is not None:
            level = group + [0] * (depth - len(group))
            while len(level) > 1:
                above = []
                for i in range(0, len(level) - 1, 2):
                    total = level[i] + level[i + 1]
                    left |= not in_range(total, tree_bits)
                    above.append(fit(total, tree_bits, tree_overflow))
                if len(level) % 2:
                    above.append(level[-1])
                level = above
            addend = level[0]
        addend = floor(Fraction(addend, 2**dropped))
        exact += addend
        low, high = min(low, exact), max(high, exact)
        left |= not in_range(register + addend, bits)
        register = fit(register + addend, bits, overflow)
        if spill and ((step + 1) % spill == 0 or step + 1 == len(groups)):
            left |= not in_range(outer + register, spill_bits)
            outer = fit(outer + register, spill_bits, spill_overflow)
            register = exact = 0
        if left:
            overflows += 1
            first = step if first < 0 else first
    return Sum(outer if spill else register, overflows, first, low, high)


def in_range(x: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= x < 1 << (bits - 1)


def sufficient_bits(low: int, high: int) -> int:
    bits = 1
    while not (in_range(low, bits) and in_range(high, bits)):
        bits += 1
    return bits


def matmul(lhs: Sequence[Sequence[int]], rhs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Exact product of matrices of ints."""
    columns = list(zip(*rhs, strict=True))
    return [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in columns] for row in lhs]


def to_float(x: Fraction, mantissa: int = 24, smallest: int = -149) -> Fraction:
    """Round to the nearest float of `mantissa` bits and smallest power 2**`smallest`, ties to even (float32)."""
    if x == 0:
        return x
    size = abs(x)
    # The bit lengths give the power of two within one place; the comparisons settle it.
    exponent = max(size.numerator.bit_length() - size.denominator.bit_length() - mantissa, smallest)
    while size >= Fraction(2) ** (exponent + mantissa):
        exponent += 1
    unit = Fraction(2) ** exponent
    return rounded(x / unit, "HALF_EVEN") * unit


def to_double(x: Fraction) -> Fraction:
    return to_float(x, 53, -1074)


def truncated_quotient(a: int, b: int) -> int:
    """Divide as C does."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def srdhm(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul, from the text of gemmlowp fixedpoint/fixedpoint.h."""
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    return truncated_quotient(product + nudge, 1 << 31)


def divide_by_power(x: int, exponent: int) -> int:
    """RoundingDivideByPOT, from the text of gemmlowp fixedpoint/fixedpoint.h."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def quantize_multiplier(scale: Fraction, bits: int = 32) -> tuple[int, int]:
    """Multiplier of `bits` bits and right shift with ``scale ~ multiplier / 2**(bits - 1) / 2**shift``."""
    shift = 0
    while scale / Fraction(2) ** -shift >= 1:
        shift -= 1
    while scale / Fraction(2) ** -shift < Fraction(1, 2):
        shift += 1
    scale = scale * Fraction(2) ** shift
    multiplier = rounded(scale * 2 ** (bits - 1), "HALF_AWAY")
    if multiplier == 2 ** (bits - 1):
        multiplier, shift = multiplier // 2, shift - 1
    return multiplier, shift


def requantize(  # noqa: C901, PLR0912 one case a profile
    acc: int, scale: Fraction, zero_point: int, profile: str, *, bias: Fraction | None = None
) -> int:
    """Scale one accumulator by the rule of a profile, before the clamp. `scale` is a float64 (exact Fraction)."""
    single = to_float(scale)
    match profile:
        case "gemmlowp-double":
            multiplier, shift = quantize_multiplier(scale)
            x = acc << max(-shift, 0)
            return divide_by_power(srdhm(x, multiplier), max(shift, 0)) + zero_point
        case "ruy-avx512":
            multiplier, shift = quantize_multiplier(scale)
            x = acc << max(-shift, 0)
            return rounding_shift(srdhm(x, multiplier), max(shift, 0), "HALF_UP") + zero_point
        case "tflite-single" | "multiply-up" | "multiply-even" | "multiply-away" | "multiply-floor":
            multiplier, shift = quantize_multiplier(scale)
            rounding = {
                "multiply-even": "HALF_EVEN",
                "multiply-away": "HALF_AWAY",
                "multiply-floor": "DOWN",
            }.get(profile, "HALF_UP")
            return rounded(Fraction(acc * multiplier, 2**31) / Fraction(2) ** shift, rounding) + zero_point
        case "float64-away":
            return rounded(to_double(to_double(Fraction(acc)) * scale), "HALF_AWAY") + zero_point
        case "xnnpack-fp32" | "float32-even" | "gemmini-scale":
            return rounded(to_float(to_float(Fraction(acc)) * single), "HALF_EVEN") + zero_point
        case "xnnpack-8.8":
            multiplier = rounded(to_float(single * 256), "HALF_EVEN")
            return rounded(Fraction(acc * multiplier, 256), "HALF_UP") + zero_point
        case "xnnpack-rndnu":
            # The mantissa of a float32 scale is the scale: nothing is lost.
            return rounded(acc * single, "HALF_UP") + zero_point
        case "qnnpack-q31":
            multiplier, shift = quantize_multiplier(single)
            return divide_by_power(srdhm(acc, multiplier), shift) + zero_point
        case "zero-point-first":
            return rounded(to_float(to_float(to_float(Fraction(acc)) * single) + zero_point), "HALF_EVEN")
        case "onnx-reference":
            return rounded(to_double(to_double(acc * scale) + zero_point), "HALF_EVEN")
        case "torch-linear":
            total = to_float(to_float(Fraction(acc)) + (bias or 0))
            return rounded(to_float(total * single), "HALF_EVEN") + zero_point
        case "tflite-int16":
            multiplier, shift = quantize_multiplier(scale)
            reduced = (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
            return rounded(Fraction(acc * reduced, 2**15) / Fraction(2) ** shift, "HALF_UP") + zero_point
        case "shift-even" | "gemmini-shift":
            return rounded(acc * scale, "HALF_EVEN") + zero_point
        case "shift-away":
            return rounded(acc * scale, "HALF_AWAY") + zero_point
        case "shift-up":
            return rounded(acc * scale, "HALF_UP") + zero_point
        case "shift-floor":
            return rounded(acc * scale, "DOWN") + zero_point
    raise KeyError(profile)


def two_scales(acc: int, row: Fraction, column: Fraction, bias: Fraction | None) -> int:
    """Row scale times (column scale times accumulator), the bias joining by fused multiply-add; float32 values."""
    inner = to_float(column * to_float(Fraction(acc)))
    if bias is None:
        return rounded(to_float(row * inner), "HALF_EVEN")
    return rounded(to_float(row * inner + bias), "HALF_EVEN")


def convertor(x: int, offset: int, scale: int, shift: int) -> int:
    return rounded(Fraction((x - offset) * scale, 2**shift), "HALF_AWAY")


def quantize(x: Fraction, scale: Fraction, zero_point: int, lo: int, hi: int, profile: str) -> int:
    """Quantize one finite float32 by the rule of a runtime; `scale` is a positive float32."""

    def clamp(value: int) -> int:
        return min(max(value, lo), hi)

    quotient = to_float(x / scale)
    match profile:
        case "exact-even" | "onnxruntime" | "onnx-reference":
            return clamp(rounded(quotient, "HALF_EVEN") + zero_point)
        case "tflite-reference":
            return clamp(rounded(quotient, "HALF_AWAY") + zero_point)
        case "torch":
            return clamp(rounded(to_float(x * to_float(1 / scale) + zero_point), "HALF_EVEN"))
        case "torch-fake" | "xnnpack":
            return clamp(rounded(to_float(x * to_float(1 / scale)), "HALF_EVEN") + zero_point)
        case "compressed-tensors":
            return rounded(min(max(to_float(quotient + zero_point), Fraction(lo)), Fraction(hi)), "HALF_EVEN")
    raise KeyError(profile)
