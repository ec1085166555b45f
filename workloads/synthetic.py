"""Networks of one matrix product with operands drawn from a stated distribution."""

from __future__ import annotations

import functools
import re
from typing import Literal, get_args

import numpy as np

from .layer import Layer
from .network import Network
from .tensors import FloatArray, LazyTensors

Distribution = Literal["normal", "outliers", "relu"]

OUTLIER_FACTOR = 20.0  # ffn_down of minilm-block has 24 to 27
OUTLIER_EVERY = 64  # one channel in 64 stands out
_CALIBRATION, _EVALUATION, _WEIGHT = range(3)  # independent streams of one seed


def _draw_lhs(m: int, k: int, distribution: Distribution, seed: int, stream: int) -> FloatArray:
    x = np.random.default_rng([seed, stream]).standard_normal((m, k), np.float32)
    if distribution == "outliers":
        x[:, ::OUTLIER_EVERY] *= np.float32(OUTLIER_FACTOR)
    elif distribution == "relu":
        np.maximum(x, 0, out=x)
    return x


def _draw_rhs(k: int, n: int, seed: int) -> FloatArray:
    w = np.random.default_rng([seed, _WEIGHT]).standard_normal((k, n), np.float32)
    return w / np.float32(np.sqrt(k))


def gemm(m: int, k: int, n: int, *, lhs: Distribution = "normal", seed: int = 0) -> Network:
    r"""Make a network of one layer ``mk,kn->mn`` with synthetic operands.

    Parameters
    ----------
    m, k, n : elements
        Sizes, at least 1.
    lhs
        Distribution of the activations. ``normal``: standard normal; ``outliers``: the same with channels 0, 64, 128,
        ... times 20, as activations of transformers have; ``relu``: the same with negatives at 0.
    seed : 0 or more
        Operands depend on it, the sizes and the distribution only.

    Returns
    -------
    network
        Input ``x`` [m, k], weight ``gemm.weight`` [k, n] with standard deviation :math:`1/\sqrt{k}`, output ``y``.
        Calibration is an independent draw of the same distribution and shape. Arrays are drawn on first use, so that
        sizes alone cost nothing.

    Raises
    ------
    ValueError
        If a size is below 1, the seed below 0, or the distribution unknown.

    Examples
    --------
    >>> network = gemm(2, 3, 5)
    >>> network.layers[0].gemm, network.run(network.evaluation)["y"].shape
    (Gemm(batch=1, m=2, k=3, n=5), (2, 5))
    """
    if lhs not in get_args(Distribution):
        msg = f"lhs must be one of {', '.join(get_args(Distribution))}, not {lhs!r}"
        raise ValueError(msg)
    if seed < 0:
        msg = f"seed must be 0 or more, not {seed}"
        raise ValueError(msg)
    layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "gemm.weight", "y")

    def inputs(stream: int) -> LazyTensors:
        return LazyTensors({"x": functools.partial(_draw_lhs, m, k, lhs, seed, stream)})

    return Network(
        f"gemm m={m} n={n} k={k}",
        f"synthetic: {lhs} activations, normal weights, seed {seed}",
        (layer,),
        LazyTensors({"gemm.weight": functools.partial(_draw_rhs, k, n, seed)}),
        inputs(_CALIBRATION),
        inputs(_EVALUATION),
        calibration_source="an independent draw of the same distribution",
        evaluation_source=f"{m} rows drawn",
    )


def parse_gemm(text: str) -> tuple[int, int, int]:
    """Read the sizes of a matrix product.

    Parameters
    ----------
    text
        ``MxNxK``: rows and columns of the result, then the length of the sum, as BLAS orders them.

    Returns
    -------
    m, k, n : elements
        At least 1 each, in the order that `gemm` takes.

    Raises
    ------
    ValueError
        If the text is anything else.

    Examples
    --------
    >>> parse_gemm("256x384x1536")
    (256, 1536, 384)
    """
    match = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)[x×]([1-9]\d*)", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        msg = f"gemm must be MxNxK in positive integers, as in 256x384x1536, not {text!r}"
        raise ValueError(msg)
    m, n, k = (int(part) for part in match.groups())
    return m, k, n
