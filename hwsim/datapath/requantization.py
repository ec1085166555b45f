"""Accumulators to the integers of the next layer: bias, scale, zero point, clamp."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import FloatArray, IntArray, IntFormat

from .encodings import Convertor, Encoding, FixedPoint, Profile, RealScale, ScalePair
from .profiles import requantization_profile
from .recording import Record

_CHUNK = 1 << 14
"""Elements that the numpy path takes at once, so that what lies between stays in a cache."""

LARGE = 1 << 20
"""Elements from which a compiled loop pays for loading numba."""
SOME = 1 << 18
"""Elements from which it pays once numba is there."""

_INT8 = IntFormat(8)


def requantize(
    acc: npt.ArrayLike,
    scale: npt.ArrayLike | Encoding,
    *,
    profile: str | Profile = "gemmlowp-double",
    zero_point: npt.ArrayLike = 0,
    output: IntFormat | str = _INT8,
    bias: npt.ArrayLike | None = None,
    clamp: tuple[int, int] | None = None,
) -> IntArray:
    r"""Scale accumulators to an output format, bit for bit as a named implementation does.

    .. math:: y = \mathrm{clamp}(\mathrm{round}((acc + bias) \cdot scale) + zero\_point)

    Parameters
    ----------
    acc : int [..., n]
        Accumulators within the width that the profile reads, 32 bits for most.
    scale : float, broadcast to [..., n], or an encoding
        ``lhs_scale * rhs_scale / output_scale`` (see `output_multiplier`), or what the profile's `encode` returned;
        a `ScalePair` for two separate scales, a `Convertor` for the registers of one.
    profile
        Name in `PROFILES`, or a profile such as `multiplier_profile` builds.
    zero_point : int, broadcast to [..., n]
        Zero point of the output, within its format.
    output
        Format of the result.
    bias : int, or float for a profile that adds a real bias; broadcast to [..., n]
        Added to the accumulators.
    clamp : (lo, hi)
        Fused activation in output integers (see `activation_clamp`); the format's own range if None.

    Returns
    -------
    y : int [..., n]
        The dtype of `output`.

    Raises
    ------
    TypeError
        If `acc`, `bias` or `zero_point` do not hold integers where they must.
    ValueError
        If a shape does not broadcast, a value does not fit its register, or the profile cannot represent a scale.

    Notes
    -----
    Equations (11) to (35) of ``docs/datapath.md``; the profile names its own.

    Examples
    --------
    >>> acc = np.array([-300, -50, 50, 300])
    >>> requantize(acc, 0.01, profile="gemmlowp-double")
    array([-3, -1,  1,  3], dtype=int8)
    >>> requantize(acc, 0.01, profile="float32-even")
    array([-3,  0,  0,  3], dtype=int8)
    """
    form = IntFormat.parse(output) if isinstance(output, str) else output
    chosen = requantization_profile(profile)
    values = np.asarray(acc)
    if values.dtype.kind not in "iu":
        msg = f"acc must hold integers, not {values.dtype}"
        raise TypeError(msg)
    zero = np.asarray(zero_point)
    _check_inside("zero_point", zero, form)
    lo, hi = _bounds(clamp, form)
    encoding = _checked_encoding(_encode(scale, chosen), values.shape)
    _spread("zero_point", zero, values.shape)
    added = None if bias is None else _checked_bias(np.asarray(bias), chosen, values.shape)
    if values.size >= (SOME if "numba" in sys.modules else LARGE):
        out = _compiled(values, encoding, zero.astype(np.int64), added, chosen, (lo, hi), form)
        if out is not None:
            return out
    _check_inside("acc", values, IntFormat(chosen.accumulator_bits))
    real_bias = added if chosen.real_bias else None
    if added is not None and real_bias is None:
        values = values.astype(np.int64) + added
        _check_inside("acc + bias", values, IntFormat(chosen.accumulator_bits))
    flat = np.atleast_1d(values)
    out = np.empty(flat.shape, form.dtype)
    rows = max(1, _CHUNK // max(1, flat[:1].size))
    with np.errstate(over="ignore"):
        for start in range(0, flat.shape[0], rows):
            cut = slice(start, start + rows)
            result = chosen.apply(
                flat[cut].astype(np.int64),
                _each(encoding, lambda x: _cut(x, flat.ndim, cut)),  # noqa: B023 used at once
                _cut(zero.astype(np.int64), flat.ndim, cut),
                None if real_bias is None else _cut(real_bias, flat.ndim, cut),
            )
            out[cut] = np.clip(result, lo, hi)
    return out.reshape(values.shape)


def _compiled(
    values: IntArray,
    encoding: Encoding,
    zero: IntArray,
    bias: npt.NDArray[Any] | None,
    profile: Profile,
    clamp: tuple[int, int],
    form: IntFormat,
) -> IntArray | None:
    """Requantize in one pass; None if that must be done, or refused, with a look at every value."""
    if values.dtype == np.uint64:
        return None
    from .compiled import run  # noqa: PLC0415 numba only where it pays

    bits = profile.accumulator_bits
    record = Record(1 << (bits - 1))
    x = record.element(bits, values.dtype)
    if bias is not None and not profile.real_bias:
        x = record.fitting(x + bias.astype(np.int64), bits)
    try:
        result = profile.apply(x, encoding, zero, bias if profile.real_bias else None)
    except ValueError:
        return None
    return run(record, result, values, *clamp, form.dtype)


def output_multiplier(
    lhs_scale: npt.ArrayLike,
    rhs_scale: npt.ArrayLike,
    output_scale: npt.ArrayLike,
    profile: str | Profile = "gemmlowp-double",
) -> FloatArray:
    """Combine the scales of a layer as the family of the profile does.

    Parameters
    ----------
    lhs_scale, rhs_scale, output_scale : float, broadcast together
        Scales as stored, float32.
    profile
        Profile whose family decides the precision.

    Returns
    -------
    scale : float32 or float64
        ``lhs_scale * rhs_scale / output_scale``, in that order: each operation rounded to float32 for the
        profiles that compute in float32 (and for those that take the mantissa of a float32), else in float64.

    Examples
    --------
    >>> float(output_multiplier(0.1, 0.2, 0.3, "float32-even"))
    0.06666667014360428
    >>> float(output_multiplier(0.1, 0.2, 0.3, "gemmlowp-double"))
    0.06666666600439287
    """
    from .float_requantization import combine  # noqa: PLC0415 floats stay in a module of their own

    return combine(lhs_scale, rhs_scale, output_scale, requantization_profile(profile).rule)


def activation_clamp(
    activation: str, scale: float, zero_point: int = 0, output: IntFormat | str = _INT8
) -> tuple[int, int]:
    """Return the range of a fused activation in output integers.

    Parameters
    ----------
    activation
        ``none``, ``relu``, ``relu6`` or ``relu_n1_to_1``.
    scale
        Scale of the output.
    zero_point
        Zero point of the output.
    output
        Format of the output.

    Returns
    -------
    lo, hi : int

    Raises
    ------
    ValueError
        If the activation has no such range, or nothing of the format is left.

    Notes
    -----
    ``zero_point + round_away(value / scale)`` in float32 within the format: ``CalculateActivationRangeQuantized``
    of TensorFlow Lite (``kernels/kernel_util.cc``).

    Examples
    --------
    >>> activation_clamp("relu6", 0.05, -128)
    (-128, -8)
    """
    from .float_requantization import activation_bounds  # noqa: PLC0415 floats stay in a module of their own

    form = IntFormat.parse(output) if isinstance(output, str) else output
    lo, hi = activation_bounds(activation, scale, zero_point, form)
    return _bounds((lo, hi), form)


def _encode(scale: npt.ArrayLike | Encoding, profile: Profile) -> Encoding:
    if isinstance(scale, (FixedPoint, Convertor, RealScale, ScalePair)):
        return scale
    array = np.asarray(scale)
    if array.dtype.kind not in "fiu":
        msg = f"scale must hold real numbers, not {array.dtype}"
        raise TypeError(msg)
    return profile.encode(array)


def _bounds(clamp: tuple[int, int] | None, form: IntFormat) -> tuple[int, int]:
    if clamp is None:
        return form.lo, form.hi
    lo, hi = clamp
    if not form.lo <= lo <= hi <= form.hi:
        msg = f"clamp must be a range within {form.lo}..{form.hi}, not {lo}..{hi}"
        raise ValueError(msg)
    return lo, hi


def _check_inside(name: str, x: npt.NDArray[Any], form: IntFormat) -> None:
    if x.dtype.kind not in "iu":
        msg = f"{name} must hold integers, not {x.dtype}"
        raise TypeError(msg)
    if x.dtype.itemsize * 8 + (x.dtype.kind == "u") <= form.bits and form.signed and not form.narrow:
        return  # no value of this type is outside
    if not form.contains(x):
        worst = int(x.max()) if int(x.max()) > form.hi else int(x.min())
        msg = f"{name} must lie in {form.name} ({form.lo}..{form.hi}), not {worst}"
        raise ValueError(msg)


def _checked_bias(bias: npt.NDArray[Any], profile: Profile, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if profile.real_bias:
        with np.errstate(over="ignore"):
            bias = bias.astype(np.float32)
        if not np.all(np.isfinite(bias)):
            msg = f"bias must be finite, not {bias[~np.isfinite(bias)].flat[0]}"
            raise ValueError(msg)
    else:
        _check_inside("bias", bias, IntFormat(profile.accumulator_bits))
    _spread("bias", bias, shape)
    return bias


def _spread(name: str, x: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        msg = f"{name} must broadcast to the accumulators {shape}, not have shape {x.shape}"
        raise ValueError(msg) from None


def _checked_encoding(encoding: Encoding, shape: tuple[int, ...]) -> Encoding:
    """Check that the numbers of an encoding broadcast to the accumulators; keep them small.

    Integers become int64: narrower ones would be shifted, and lost, in their own width.
    """
    integer = isinstance(encoding, (FixedPoint, Convertor))

    def check(x: Any) -> npt.NDArray[Any]:
        array = np.asarray(x)
        if array.dtype.kind not in ("iu" if integer else "f"):
            msg = f"encoding must hold {'integers' if integer else 'floats'}, not {array.dtype}"
            raise TypeError(msg)
        _spread("scale", array, shape)
        return array.astype(np.int64, copy=False) if integer else array

    return _each(encoding, check)


def _cut(x: npt.NDArray[Any], ndim: int, cut: slice) -> npt.NDArray[Any]:
    """Take a chunk of the first of `ndim` axes, along which `x` may have one value for all."""
    return x[cut] if x.ndim == ndim and x.shape[0] != 1 else x


def _each(encoding: Encoding, change: Callable[[Any], Any]) -> Encoding:
    """Apply a function to the arrays of an encoding."""
    if isinstance(encoding, FixedPoint):
        return FixedPoint(change(encoding.multiplier), change(encoding.shift), encoding.bits)
    return type(encoding)(*(change(x) for x in encoding))
