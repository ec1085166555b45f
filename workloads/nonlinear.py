"""The functions between contractions, in numpy: activations, norms, softmax, pooling; float32 or float64 as given."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from .tensors import FloatArray

_ERF_STEPS = 1024  # table points per unit of x
_ERF_LIMIT = 6.0  # 1 - erf(6) is 2.2e-17, below half an ulp of 1 in float64
_CHUNK = 8192  # elements


@functools.cache
def _erf_table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Tabulate erf and its derivative on 0, 1/1024, ..., 6."""
    points = np.arange(int(_ERF_LIMIT * _ERF_STEPS) + 1) / _ERF_STEPS
    values = np.array([math.erf(point) for point in points])
    return values, 2.0 / math.sqrt(math.pi) * np.exp(-points * points)


def erf(x: FloatArray) -> FloatArray:
    r"""Compute the error function.

    .. math:: \mathrm{erf}(x) = \frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt

    Parameters
    ----------
    x : float32 or float64 [...]
        Any finite or infinite values; NaN stays NaN.

    Returns
    -------
    y : float32 or float64 [...]
        Shape and dtype of `x`; absolute error below 1e-13 before rounding to the dtype.

    Notes
    -----
    Third-order Taylor series about the nearest of the points 0, 1/1024, ..., 6, whose values come from ``math.erf``:
    with :math:`g = \frac{2}{\sqrt\pi} e^{-p^2}` and :math:`h = |x| - p`,
    :math:`\mathrm{erf}(p + h) = \mathrm{erf}(p) + g (h - p h^2 + (2 p^2 - 1) h^3 / 3) + O(h^4)`. The fourth
    derivative is below 8 in magnitude and h at most 1/2048, so that the remainder is below 2e-14.

    Examples
    --------
    >>> erf(np.array([0.0, 1.0, -2.0])).round(7)
    array([ 0.       ,  0.8427008, -0.9953223])
    """
    flat = np.ascontiguousarray(x).reshape(-1)
    result = np.empty_like(flat)
    for begin in range(0, flat.size, _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        result[chunk] = _erf_chunk(flat[chunk])
    return result.reshape(x.shape)


def _erf_chunk(x: FloatArray) -> npt.NDArray[np.float64]:
    """Evaluate the series of `erf`, few enough elements at a time that intermediate arrays stay in the cache."""
    values, slopes = _erf_table()
    magnitude = np.minimum(np.abs(x).astype(np.float64), _ERF_LIMIT)
    steps = np.rint(np.fmin(magnitude, _ERF_LIMIT) * _ERF_STEPS)  # fmin: a NaN gets an index too
    index = steps.astype(np.intp)
    point = steps * (1.0 / _ERF_STEPS)
    h = magnitude - point
    series = (2.0 * point * point - 1.0) * (1.0 / 3.0)
    series *= h
    series -= point
    series *= h
    series += 1.0
    series *= h
    series *= slopes.take(index)
    series += values.take(index)
    signed: npt.NDArray[np.float64] = np.copysign(series, x)
    return signed


def gelu(x: FloatArray) -> FloatArray:
    r"""Apply the Gaussian error linear unit in its exact form.

    .. math:: y = \frac{x}{2} (1 + \mathrm{erf}(x / \sqrt 2))

    Parameters
    ----------
    x : float32 or float64 [...]
        Finite values.

    Returns
    -------
    y : float32 or float64 [...]
        Shape and dtype of `x`.

    Notes
    -----
    Hendrycks and Gimpel, 2016, arXiv:1606.08415. BERT and MiniLM use this form, not the tanh approximation.

    Examples
    --------
    >>> gelu(np.array([-1.0, 0.0, 2.0])).round(4)
    array([-0.1587,  0.    ,  1.9545])
    """
    half = x.dtype.type(0.5)
    return half * x * (1 + erf(x * x.dtype.type(math.sqrt(0.5))))


def softmax(x: FloatArray, scale: float = 1.0) -> FloatArray:
    r"""Normalize the last axis to a distribution.

    .. math:: y_i = \frac{e^{s (x_i - \max x)}}{\sum_j e^{s (x_j - \max x)}}

    Parameters
    ----------
    x : float32 or float64 [..., k]
        Scores.
    scale : positive
        Factor on the scores; attention takes 1/sqrt(d).

    Returns
    -------
    y : float32 or float64 [..., k]
        Probabilities; each row sums to 1 up to rounding.

    Examples
    --------
    >>> softmax(np.array([[0.0, 2.0]]), scale=0.5).round(4)
    array([[0.2689, 0.7311]])
    """
    scaled = x * x.dtype.type(scale)
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def layer_norm(x: FloatArray, gamma: FloatArray, beta: FloatArray, epsilon: float) -> FloatArray:
    r"""Normalize the last axis to mean 0 and variance 1, then scale and shift it.

    .. math:: y = \gamma \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \epsilon}} + \beta

    Parameters
    ----------
    x : float32 or float64 [..., n]
        Values.
    gamma, beta : float32 or float64 [n]
        Scale and shift by channel.
    epsilon : positive
        Added to the (biased) variance.

    Returns
    -------
    y : float32 or float64 [..., n]
        Shape and dtype of `x`.

    Notes
    -----
    Ba, Kiros and Hinton, 2016, arXiv:1607.06450.

    Examples
    --------
    >>> layer_norm(np.array([[1.0, 3.0]]), np.array([1.0, 2.0]), np.array([0.0, 5.0]), 1e-12)
    array([[-1.,  7.]])
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    result: FloatArray = centred / np.sqrt(variance + x.dtype.type(epsilon)) * gamma + beta
    return result


def silu(x: FloatArray) -> FloatArray:
    r"""Apply the sigmoid linear unit.

    .. math:: y = \frac{x}{1 + e^{-x}}

    Parameters
    ----------
    x : float32 or float64 [...]
        Finite values.

    Returns
    -------
    y : float32 or float64 [...]
        Shape and dtype of `x`.

    Notes
    -----
    Hendrycks and Gimpel, 2016, arXiv:1606.08415; the gate of SwiGLU (Shazeer, 2020, arXiv:2002.05202).

    Examples
    --------
    >>> silu(np.array([-1.0, 0.0, 2.0])).round(4)
    array([-0.2689,  0.    ,  1.7616])
    """
    # e^-|x| never overflows.
    small = np.exp(-np.abs(x))
    result: FloatArray = x * np.where(x >= 0, 1, small) / (1 + small)
    return result


def rms_norm(x: FloatArray, gamma: FloatArray, epsilon: float) -> FloatArray:
    r"""Divide the last axis by its root mean square, then scale it.

    .. math:: y = \gamma \frac{x}{\sqrt{\mathrm{mean}(x^2) + \epsilon}}

    Parameters
    ----------
    x : float32 or float64 [..., n]
        Values.
    gamma : float32 or float64 [n]
        Scale by channel.
    epsilon : positive
        Added to the mean square.

    Returns
    -------
    y : float32 or float64 [..., n]
        Shape and dtype of `x`.

    Notes
    -----
    Zhang and Sennrich, 2019, arXiv:1910.07467.

    Examples
    --------
    >>> rms_norm(np.array([[3.0, 3.0]]), np.array([1.0, 2.0]), 1e-12)
    array([[1., 2.]])
    """
    square = np.square(x).mean(axis=-1, keepdims=True)
    result: FloatArray = x / np.sqrt(square + x.dtype.type(epsilon)) * gamma
    return result


def max_pool(x: FloatArray, window: int, stride: int, padding: int) -> FloatArray:
    """Take the largest value of every square window of the last two axes.

    Parameters
    ----------
    x : float32 or float64 [..., h, w]
        Values.
    window, stride, padding : elements
        Of both axes; padding never wins.

    Returns
    -------
    y : float32 or float64 [..., p, q]
        ``p = (h + 2 padding - window) // stride + 1``, and so on.

    Raises
    ------
    ValueError
        If the window does not fit the padded input.

    Examples
    --------
    >>> max_pool(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]), 2, 2, 1)
    array([[1., 3.],
           [7., 9.]])
    """
    edges = [(0, 0)] * (x.ndim - 2) + [(padding, padding)] * 2
    padded = np.pad(x, edges, constant_values=-np.inf)
    if min(padded.shape[-2:]) < window:
        msg = f"window of max_pool must fit the padded input {list(padded.shape[-2:])}, not {window}"
        raise ValueError(msg)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(-2, -1))
    result: FloatArray = windows[..., ::stride, ::stride, :, :].max(axis=(-2, -1))
    return result


def rotary(x: FloatArray, base: float, first: int) -> FloatArray:
    """Rotate pairs of channels by angles that grow with the position (Su et al., arXiv 2104.09864).

    Parameters
    ----------
    x : float32 or float64 [..., position, d]
        Channel `i` of the first half is turned with channel ``i + d / 2``, as Llama's weights have it.
    base
        Angles are ``position * base**(-2 i / d)``.
    first
        Position of the first row.

    Raises
    ------
    ValueError
        If the number of channels is odd.

    Examples
    --------
    >>> rotary(np.array([[1.0, 0.0], [1.0, 0.0]]), 10000.0, 0).round(4)
    array([[1.    , 0.    ],
           [0.5403, 0.8415]])
    """
    half, rest = divmod(x.shape[-1], 2)
    if rest:
        msg = f"channels must be even to be rotated in pairs, not {x.shape[-1]}"
        raise ValueError(msg)
    turns = base ** (-np.arange(half) / half)
    angles = (first + np.arange(x.shape[-2]))[:, None] * turns
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    one, other = x[..., :half], x[..., half:]
    return np.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)
