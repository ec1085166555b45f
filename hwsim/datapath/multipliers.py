"""Real scales to multiplier and shift, as each family of runtimes derives them. Offline, so in floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from quant.formats import FloatArray

from .encodings import FixedPoint


def quantized_multiplier(scale: FloatArray) -> FixedPoint:
    """Round a scale to a Q31 fraction and a shift, equation (17).

    Parameters
    ----------
    scale : float64 [...]
        Positive and finite.

    Returns
    -------
    encoding : FixedPoint of 32 bits

    Raises
    ------
    ValueError
        If a scale is not positive, below 2**-32 (TensorFlow Lite flushes it to 0) or needs a left shift
        beyond 30.

    Notes
    -----
    ``QuantizeMultiplier`` of TensorFlow Lite (``kernels/internal/quantization_util.cc``); its shift has the
    opposite sign.

    Examples
    --------
    >>> quantized_multiplier(np.float64(0.3))
    FixedPoint(multiplier=array(1288490189), shift=array(1), bits=32)
    """
    return fraction(scale, 32)


def fraction(scale: FloatArray, bits: int) -> FixedPoint:
    """Round a scale to a fraction of `bits` bits and a shift, ties away from zero, equation (17).

    Raises
    ------
    ValueError
        As in `quantized_multiplier`.
    """
    _check_positive(scale)
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    one = 1 << (bits - 1)
    # The mantissa times a power of two is exact, and so is adding one half below 2**52.
    multiplier = np.floor(mantissa * float(one) + 0.5).astype(np.int64)
    carried = multiplier == one
    multiplier = np.where(carried, one >> 1, multiplier)
    shift = np.asarray(-(exponent.astype(np.int64) + carried))
    _check_shift(scale, shift, -30, 31)
    return FixedPoint(multiplier, shift, bits)


def mantissa_multiplier(scale: FloatArray) -> FixedPoint:
    """Take the 24-bit mantissa of a float32 scale as the multiplier, equation (18).

    Parameters
    ----------
    scale : float [...]
        In [2**-32, 1) once rounded to float32.

    Returns
    -------
    encoding : FixedPoint of 32 bits, its low 7 bits 0

    Raises
    ------
    ValueError
        If a scale is outside that range.

    Notes
    -----
    ``src/qnnpack/requantization.h`` of QNNPACK.
    """
    _check_positive(scale)
    return _mantissa(np.asarray(scale, np.float32), 0, 31)


def wide_mantissa_multiplier(scale: FloatArray) -> FixedPoint:
    """Take the 24-bit mantissa of a float32 scale in [2**-32, 256), equation (18).

    Raises
    ------
    ValueError
        If a scale is outside that range.

    Notes
    -----
    ``src/xnnpack/requantization.h`` of XNNPACK, profile rndnu.
    """
    _check_positive(scale)
    return _mantissa(np.asarray(scale, np.float32), -8, 31)


def _mantissa(scale: npt.NDArray[np.float32], lowest: int, highest: int) -> FixedPoint:
    mantissa, exponent = np.frexp(scale)
    shift = -exponent.astype(np.int64)
    _check_shift(scale, shift, lowest, highest)
    return FixedPoint(np.ldexp(mantissa.astype(np.float64), 31).astype(np.int64), shift, 32)


def byte_fraction_multiplier(scale: FloatArray) -> FixedPoint:
    """Round ``256 * scale`` to an integer, ties to even, equation (19).

    Raises
    ------
    ValueError
        If a scale, rounded to float32, is outside [2**-8, 2**7].

    Notes
    -----
    The int8 to int8 convert of XNNPACK (``vcvt``).
    """
    _check_positive(scale)
    single = np.asarray(scale, np.float32)
    if np.any((single < 2.0**-8) | (single > 2.0**7)):
        worst = single[(single < 2.0**-8) | (single > 2.0**7)].flat[0]
        msg = f"scale must lie in 2**-8..2**7 for an 8.8 multiplier, not {worst}"
        raise ValueError(msg)
    multiplier = np.rint(single * np.float32(256)).astype(np.int64)
    return FixedPoint(multiplier, np.full_like(multiplier, -8), 17)


def power_of_two(scale: FloatArray) -> FixedPoint:
    """Encode scales that are powers of two, equation (20).

    Raises
    ------
    ValueError
        If a scale is no power of two, or outside 2**-32..2**30.
    """
    _check_positive(scale)
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    if np.any(mantissa != 0.5):
        worst = np.asarray(scale)[mantissa != 0.5].flat[0]
        msg = f"scale must be a power of two, not {worst}"
        raise ValueError(msg)
    shift = -exponent.astype(np.int64)
    _check_shift(scale, shift, -31, 31)
    return FixedPoint(np.full_like(shift, 1 << 30), shift, 32)


def nearest_power_of_two(scale: FloatArray) -> npt.NDArray[np.float64]:
    """Return the nearest power of two by ratio, a tie being impossible: sqrt(2) is irrational.

    Examples
    --------
    >>> nearest_power_of_two(np.array([0.7, 0.72, 3.0]))
    array([0.5, 1. , 4. ])
    """
    _check_positive(scale)
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    # mantissa in [1/2, 1): above the geometric mean sqrt(1/2) the upper power is nearer.
    return np.ldexp(np.where(mantissa * mantissa > 0.5, 1.0, 0.5), exponent)


def fraction_of(bits: int) -> Callable[[FloatArray], FixedPoint]:
    """Return `fraction` with its width bound."""

    def encode(scale: FloatArray) -> FixedPoint:
        return fraction(scale, bits)

    return encode


def _check_positive(scale: FloatArray) -> None:
    array = np.asarray(scale)
    bad = ~(np.isfinite(array) & (array > 0))
    if np.any(bad):
        msg = f"scale must be positive and finite, not {array[bad].flat[0]}"
        raise ValueError(msg)


def _check_shift(scale: FloatArray, shift: npt.NDArray[np.int64], lowest: int, highest: int) -> None:
    bad = (shift < lowest) | (shift > highest)
    if np.any(bad):
        msg = (
            f"scale must lie in [2**{-highest - 1}, 2**{-lowest}) for this profile, "
            f"not {np.broadcast_to(scale, shift.shape)[bad].flat[0]}"
        )
        raise ValueError(msg)
