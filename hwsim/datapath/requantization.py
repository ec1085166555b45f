"""Accumulators to the integers of the next layer: bias, scale, zero point, clamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import FloatArray, IntArray, IntFormat

from .encodings import Convertor, Encoding, FixedPoint, Profile, RealScale, ScalePair
from .profiles import requantization_profile

_CHUNK = 1 << 16
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
    _check_integers("acc", values, chosen.accumulator_bits)
    zero = np.asarray(zero_point)
    _check_inside("zero_point", zero, form)
    lo, hi = _bounds(clamp, form)
    encoding = _encode(scale, chosen)
    real_bias: FloatArray | None = None
    if bias is not None and chosen.real_bias:
        real_bias = np.asarray(bias, np.float32)
        _spread("bias", real_bias, values.shape)
    elif bias is not None:
        values = _add_bias(values, np.asarray(bias), chosen.accumulator_bits)
    encoding = _checked_encoding(encoding, values.shape)
    _spread("zero_point", zero, values.shape)
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


def _check_integers(name: str, x: npt.NDArray[Any], bits: int) -> None:
    if x.dtype.kind not in "iu":
        msg = f"{name} must hold integers, not {x.dtype}"
        raise TypeError(msg)
    if 8 * x.dtype.itemsize > bits or (x.dtype.kind == "u" and 8 * x.dtype.itemsize == bits):
        _check_inside(name, x, IntFormat(bits))


def _check_inside(name: str, x: npt.NDArray[Any], form: IntFormat) -> None:
    if x.dtype.kind not in "iu":
        msg = f"{name} must hold integers, not {x.dtype}"
        raise TypeError(msg)
    if not form.contains(x):
        worst = int(x.max()) if int(x.max()) > form.hi else int(x.min())
        msg = f"{name} must lie in {form.name} ({form.lo}..{form.hi}), not {worst}"
        raise ValueError(msg)


def _add_bias(values: IntArray, bias: npt.NDArray[Any], bits: int) -> IntArray:
    _check_integers("bias", bias, bits)
    total: IntArray = values.astype(np.int64) + _spread("bias", bias, values.shape)
    _check_inside("acc + bias", total, IntFormat(bits))
    return total


def _spread(name: str, x: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        msg = f"{name} must broadcast to the accumulators {shape}, not have shape {x.shape}"
        raise ValueError(msg) from None


def _checked_encoding(encoding: Encoding, shape: tuple[int, ...]) -> Encoding:
    """Check that the numbers of an encoding broadcast to the accumulators; keep them small."""

    def check(x: Any) -> npt.NDArray[Any]:
        array = np.asarray(x)
        _spread("scale", array, shape)
        return array

    return _each(encoding, check)


def _cut(x: npt.NDArray[Any], ndim: int, cut: slice) -> npt.NDArray[Any]:
    """Take a chunk of the first of `ndim` axes, along which `x` may have one value for all."""
    return x[cut] if x.ndim == ndim and x.shape[0] != 1 else x


def _each(encoding: Encoding, change: Callable[[Any], Any]) -> Encoding:
    """Apply a function to the arrays of an encoding."""
    if isinstance(encoding, FixedPoint):
        return FixedPoint(change(encoding.multiplier), change(encoding.shift), encoding.bits)
    return type(encoding)(*(change(x) for x in encoding))
