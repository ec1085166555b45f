"""Errors of a computed tensor against a reference, in the figures people compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .qtensor import QTensor

if TYPE_CHECKING:
    import pandas as pd

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Errors:
    r"""Figures of one tensor, or of each of its channels; float64 arrays, of shape () for one tensor.

    With reference y and error e = result - y:

    Parameters
    ----------
    sqnr_db : dB
        :math:`10 \log_{10}(\sum y^2 / \sum e^2)`; infinite without error, minus infinity for an error on zeros.
    relative_error
        :math:`\sqrt{\sum e^2 / \sum y^2}`; 0 without error, infinite for an error on zeros.
    mean_square, max_error, bias
        Mean of e squared, largest \|e\|, mean of e, in units of the tensor.
    cosine
        Of the angle between result and reference; 1 if both are zero, 0 if one is.
    """

    sqnr_db: Float64
    relative_error: Float64
    mean_square: Float64
    max_error: Float64
    bias: Float64
    cosine: Float64

    def to_frame(self) -> pd.DataFrame:
        """One row for each channel, in C order, with one column for each figure."""
        import pandas as pd  # noqa: PLC0415  only where a frame is asked for

        return pd.DataFrame({field.name: np.ravel(getattr(self, field.name)) for field in fields(self)})


def measure_errors(
    reference: npt.ArrayLike, result: npt.ArrayLike, channels: int | Sequence[int] | None = None
) -> Errors:
    """Compare a result with its reference, in float64.

    Parameters
    ----------
    reference, result : real [...]
        Of one shape.
    channels
        Axis or axes whose elements are compared separately; None compares the tensors as a whole.

    Returns
    -------
    Errors
        Of shape () or the lengths of `channels`.

    Raises
    ------
    ValueError
        If the shapes differ, a tensor is empty, or a value is not finite.

    Examples
    --------
    >>> errors = measure_errors([3.0, 4.0], [3.0, 4.5])
    >>> float(errors.sqnr_db), float(errors.relative_error), float(errors.bias)
    (20.0, 0.1, 0.25)
    """
    y, got = np.asarray(reference, np.float64), np.asarray(result, np.float64)
    if y.shape != got.shape or y.size == 0:
        msg = f"reference and result must have one shape and an element, not {y.shape} and {got.shape}"
        raise ValueError(msg)
    for name, values in (("reference", y), ("result", got)):
        if not np.isfinite(values).all():
            msg = f"{name} must be finite, not NaN or infinite"
            raise ValueError(msg)
    kept = () if channels is None else tuple(np.atleast_1d(channels).tolist())
    over = tuple(axis for axis in range(y.ndim) if axis not in {k % y.ndim for k in kept})

    def total(values: Float64) -> Float64:
        # A row of floats for each channel sums pairwise: the error of the sum stays near float64's own.
        return np.asarray(values.sum(axis=over))

    error = got - y
    signal, noise, size = total(y * y), total(error * error), y.size // max(1, int(np.prod([y.shape[k] for k in kept])))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(noise == 0, 0, noise / signal)
        # Each vector is normalized alone, so that the product of the norms cannot overflow.
        cosine = total(y * got) / np.sqrt(signal) / np.sqrt(total(got * got))
        sqnr = np.where(ratio == 0, np.inf, -10 * np.log10(ratio))
    missing = np.isnan(cosine)
    cosine = np.where(missing, np.where(noise == 0, 1.0, 0.0), np.clip(cosine, -1, 1))
    return Errors(
        sqnr_db=np.asarray(sqnr),
        relative_error=np.sqrt(ratio),
        mean_square=noise / size,
        max_error=np.asarray(np.abs(error).max(axis=over)),
        bias=total(error) / size,
        cosine=cosine,
    )


def error_frame(
    layers: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike | QTensor]], channels: int | Sequence[int] | None = None
) -> pd.DataFrame:
    """Errors of several layers in one frame: one row for each layer, or for each channel of each.

    Parameters
    ----------
    layers
        Name to reference and result; the result may be a quantized tensor.
    channels
        Axis or axes whose elements are compared separately; None compares the tensors as a whole.

    Returns
    -------
    frame
        Columns ``layer``, ``channel`` (with `channels`: its index, in C order), those of `Errors`, and ``saturated``:
        how many values a quantized tensor's codes do not reach, by more than half a step beyond the last of them;
        -1 where the result is no affine quantized tensor.

    Raises
    ------
    ValueError
        If there is no layer; or as `measure_errors`, with the name of the layer.

    Examples
    --------
    >>> from quant import quantize
    >>> x = [[0.5, -1.0], [2.0, 30.0]]
    >>> frame = error_frame({"first": (x, quantize(x, scale=0.125)), "second": (x, x)}, channels=0)
    >>> frame[["layer", "channel", "max_error", "saturated"]].values.tolist()
    [['first', 0, 0.0, 0], ['first', 1, 14.125, 1], ['second', 0, 0.0, -1], ['second', 1, 0.0, -1]]
    """
    import pandas as pd  # noqa: PLC0415  only where a frame is asked for

    if not layers:
        msg = "layers must hold at least one pair of tensors, not none"
        raise ValueError(msg)
    frames = []
    for name, (reference, result) in layers.items():
        real = result.dequantize() if isinstance(result, QTensor) else result
        try:
            frame = measure_errors(reference, real, channels).to_frame()
        except ValueError as error:
            error.add_note(f"in layer {name!r}")
            raise
        frame["saturated"] = _count_saturated(np.asarray(reference), result, channels)
        frame.insert(0, "layer", name)
        if channels is not None:
            frame.insert(1, "channel", np.arange(len(frame)))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _count_saturated(
    reference: npt.NDArray[Any], result: npt.ArrayLike | QTensor, channels: int | Sequence[int] | None
) -> npt.NDArray[np.int64] | int:
    """Count the values beyond the codes of each channel."""
    if not isinstance(result, QTensor) or result.code != "affine":
        return -1
    zero = result.element_zero_point()
    whole = np.rint(reference.astype(np.float32) / result.element_scale()).astype(np.float64)
    whole += 0 if zero is None else zero
    outside = (whole < result.format.lo) | (whole > result.format.hi)
    kept = set() if channels is None else {k % outside.ndim for k in np.atleast_1d(channels).tolist()}
    return np.ravel(outside.sum(axis=tuple(k for k in range(outside.ndim) if k not in kept)))


def sqnr_db(reference: npt.ArrayLike, result: npt.ArrayLike) -> float:
    """Signal to quantization noise ratio in dB, ``10 log10(sum y**2 / sum e**2)``; infinite without error.

    Raises
    ------
    ValueError
        As `measure_errors`.
    """
    y, got = np.asarray(reference, np.float64).ravel(), np.asarray(result, np.float64).ravel()
    if np.shape(reference) == np.shape(result) and y.size:
        error = got - y
        signal, noise = float(y @ y), float(error @ error)
        if 0 < noise < np.inf and 0 < signal < np.inf:
            return 10 * math.log10(signal / noise)
    return float(measure_errors(reference, result).sqnr_db)  # the rare cases, and their errors
