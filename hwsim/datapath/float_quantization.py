"""Floats to integers and back, as each runtime does it: division or reciprocal, zero point before or after rounding.

The default refuses NaN, infinity and scales that are not positive; a runtime's profile does what that runtime does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import FloatArray, IntArray, IntFormat

from .float_requantization import fused_multiply_add, round_away

_INT8 = IntFormat(8)
_Single = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QuantizeProfile:
    """A bit-exact meaning of ``clamp(round(x / scale) + zero_point)``.

    Parameters
    ----------
    name
        Name to ask for.
    formula
        What is computed.
    source
        Public code that says so.
    evidence
        ``run`` and what our tests run it against, or ``from source only``.
    apply
        ``apply(x, scale, zero_point, output)``: rounded floats before the clamp.
    strict
        Refuse NaN, infinity and scales that are not positive.
    nan
        Where NaN goes if it is not refused: ``lo``, ``hi`` or ``zero``.
    """

    name: str
    formula: str
    source: str
    evidence: str
    apply: Callable[[_Single, _Single, IntArray, IntFormat], FloatArray]
    strict: bool = False
    nan: str = "lo"


def _divide_even(x: _Single, scale: _Single, zero: IntArray, _: IntFormat) -> FloatArray:
    return np.asarray(np.rint(x / scale) + zero, np.float64)


def _divide_away(x: _Single, scale: _Single, zero: IntArray, _: IntFormat) -> FloatArray:
    quotient = np.asarray(x / scale, np.float64)
    # The conversion to int32 of what does not fit gives its smallest value.
    quotient = np.where(np.abs(quotient) < 2.0**31, quotient, -(2.0**31))
    return np.asarray(round_away(quotient) + zero)


def _divide_int32(x: _Single, scale: _Single, zero: IntArray, _: IntFormat) -> FloatArray:
    rounded = np.rint(np.asarray(x / scale, np.float64))
    fits = (rounded >= -(2.0**31)) & (rounded < 2.0**31)
    return np.asarray(np.where(fits, rounded, -(2.0**31)) + np.maximum(zero, 0) * ~fits + zero * fits)


def _reciprocal_even(x: _Single, scale: _Single, zero: IntArray, _: IntFormat) -> FloatArray:
    return np.asarray(np.rint(x * (np.float32(1) / scale)) + zero, np.float64)


def _reciprocal_fused(x: _Single, scale: _Single, zero: IntArray, _: IntFormat) -> FloatArray:
    return np.rint(fused_multiply_add(x, np.float32(1) / scale, zero))


def _zero_point_first(x: _Single, scale: _Single, zero: IntArray, form: IntFormat) -> FloatArray:
    return np.asarray(np.rint(np.clip(x / scale + zero.astype(np.float32), form.lo, form.hi)), np.float64)


_ALL = (
    QuantizeProfile(
        "exact-even",
        "round_even(x / scale) + zp",
        "ONNX QuantizeLinear, for finite values and positive scales",
        "run: onnxruntime and the onnx backend node tests",
        _divide_even,
        strict=True,
    ),
    QuantizeProfile(
        "onnxruntime",
        "round_even(x / scale) + zp; NaN to the lowest value",
        "onnxruntime core/providers/cpu/quantization/quantize_linear.cc, mlas/lib/quantize.cpp",
        "run: onnxruntime QuantizeLinear",
        _divide_even,
    ),
    QuantizeProfile(
        "onnx-reference",
        "int32(round_even(x / scale)) + zp; outside int32 to the lowest value",
        "onnx/reference/ops/op_quantize_linear.py",
        "run: onnx reference evaluator",
        _divide_int32,
    ),
    QuantizeProfile(
        "torch",
        "round_even(fma(x, 1 / scale, zp)); NaN to the highest value",
        "FBGEMM include/fbgemm/QuantUtilsAvx2.h, torch.quantize_per_tensor",
        "run: torch.quantize_per_tensor, in the extra environment",
        _reciprocal_fused,
        nan="hi",
    ),
    QuantizeProfile(
        "torch-fake",
        "round_even(x * (1 / scale)) + zp",
        "torch.fake_quantize_per_tensor_affine",
        "run: torch.fake_quantize_per_tensor_affine, in the extra environment",
        _reciprocal_even,
    ),
    QuantizeProfile(
        "tflite-reference",
        "int32(round_away(x / scale)) + zp; outside int32 to the lowest value",
        "tensorflow/lite/kernels/internal/reference/quantize.h",
        "run: LiteRT reference QUANTIZE, in the extra environment",
        _divide_away,
    ),
    QuantizeProfile(
        "xnnpack",
        "round_even(x * (1 / scale)) + zp; NaN to the highest value",
        "XNNPACK src/f32-qs8-vcvt",
        "run: LiteRT default QUANTIZE, in the extra environment",
        _reciprocal_even,
        nan="hi",
    ),
    QuantizeProfile(
        "compressed-tensors",
        "round_even(clamp(x / scale + zp))",
        "compressed-tensors compressed_tensors/quantization/lifecycle/forward.py",
        "run: compressed-tensors quantize, in the extra environment",
        _zero_point_first,
        strict=True,
    ),
)

QUANTIZE_PROFILES: dict[str, QuantizeProfile] = {profile.name: profile for profile in _ALL}
"""Quantize profiles by name."""


def quantize(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike = 0,
    *,
    output: IntFormat | str = _INT8,
    profile: str = "exact-even",
) -> IntArray:
    r"""Quantize floats with known scales, bit for bit as a named runtime does.

    .. math:: q = \mathrm{clamp}(\mathrm{round}(x / scale) + zero\_point)

    Parameters
    ----------
    x : float [...]
        Rounded to float32 first.
    scale : float, broadcast to [...]
    zero_point : int, broadcast to [...]
    output
        Format of the result.
    profile
        Name in `QUANTIZE_PROFILES`.

    Returns
    -------
    q : int [...]
        The dtype of `output`.

    Raises
    ------
    TypeError
        If `zero_point` does not hold integers.
    ValueError
        If a shape does not broadcast, a zero point is outside `output`, the profile is unknown; or if a strict
        profile meets NaN, infinity or a scale that is not positive.

    Notes
    -----
    Equations (41) to (44) of ``docs/datapath.md``.

    Examples
    --------
    >>> quantize([0.05, 0.15, 0.25], 0.1, profile="exact-even")
    array([0, 2, 2], dtype=int8)
    >>> quantize([0.05, 0.15, 0.25], 0.1, profile="tflite-reference")
    array([1, 2, 3], dtype=int8)
    """
    form = IntFormat.parse(output) if isinstance(output, str) else output
    if profile not in QUANTIZE_PROFILES:
        msg = f"profile must be one of {', '.join(QUANTIZE_PROFILES)}, not {profile!r}"
        raise ValueError(msg)
    chosen = QUANTIZE_PROFILES[profile]
    values = np.asarray(x, np.float32)
    zero = np.asarray(zero_point)
    if zero.dtype.kind not in "iu":
        msg = f"zero_point must hold integers, not {zero.dtype}"
        raise TypeError(msg)
    if not form.contains(zero):
        msg = f"zero_point must lie in {form.name} ({form.lo}..{form.hi}), not {_first(zero, ~_within(zero, form))}"
        raise ValueError(msg)
    scales = _spread("scale", np.asarray(scale, np.float32), values.shape)
    zeros = _spread("zero_point", zero.astype(np.int64), values.shape)
    if chosen.strict:
        _check_finite("x", values, np.isfinite(values), "finite")
        _check_finite("scale", scales, np.isfinite(scales) & (scales > 0), "positive and finite")
    with np.errstate(all="ignore"):
        rounded = chosen.apply(values, scales, zeros, form)
        clipped = np.clip(rounded, form.lo, form.hi)
    nan = form.hi if chosen.nan == "hi" else form.lo
    return np.asarray(np.where(np.isnan(clipped), nan, clipped).astype(form.dtype))


def dequantize(
    q: npt.ArrayLike, scale: npt.ArrayLike, zero_point: npt.ArrayLike = 0, *, profile: str = "float32"
) -> npt.NDArray[np.float32]:
    """Turn integers into floats: ``(q - zero_point) * scale``.

    Parameters
    ----------
    q : int [...]
    scale : float, broadcast to [...]
    zero_point : int, broadcast to [...]
    profile
        ``float32`` (ONNX, onnxruntime, torch per tensor): the difference is rounded to float32, then the product.
        ``float64`` (torch per channel): the scale and the product are float64, rounded once.

    Returns
    -------
    x : float32 [...]

    Raises
    ------
    TypeError
        If `q` or `zero_point` do not hold integers.
    ValueError
        If a shape does not broadcast or the profile is unknown.

    Notes
    -----
    Equation (45).

    Examples
    --------
    >>> dequantize([-3, 0, 5], 0.5, 1)
    array([-2. , -0.5,  2. ], dtype=float32)
    """
    codes, zero = np.asarray(q), np.asarray(zero_point)
    for name, array in (("q", codes), ("zero_point", zero)):
        if array.dtype.kind not in "iu":
            msg = f"{name} must hold integers, not {array.dtype}"
            raise TypeError(msg)
    difference = codes.astype(np.int64) - _spread("zero_point", zero.astype(np.int64), codes.shape)
    scales = _spread("scale", np.asarray(scale, np.float64), codes.shape)
    match profile:
        case "float32":
            return np.asarray(difference.astype(np.float32) * scales.astype(np.float32))
        case "float64":
            return np.asarray(difference * scales).astype(np.float32)
        case _:
            msg = f"profile must be float32 or float64, not {profile!r}"
            raise ValueError(msg)


def _spread(name: str, x: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        msg = f"{name} must broadcast to the values {shape}, not have shape {x.shape}"
        raise ValueError(msg) from None


def _within(x: npt.NDArray[Any], form: IntFormat) -> npt.NDArray[np.bool_]:
    return np.asarray((x >= form.lo) & (x <= form.hi))


def _first(x: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> Any:
    return x[where].flat[0]


def _check_finite(name: str, x: npt.NDArray[Any], good: npt.NDArray[np.bool_], rule: str) -> None:
    if not np.all(good):
        msg = f"{name} must be {rule}, not {_first(x, ~good)}"
        raise ValueError(msg)
