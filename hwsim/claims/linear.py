"""Linear quantization: the formulas of the source documents, taken literally and tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from quant import ProductQuantizer, QTensor, Range, measure_errors, quantize, quantize_codebook, quantize_pow2, sqnr_db

from . import samples
from .claim import Case, claims_of
from .samples import Float32

claim = claims_of("linear quantization")

USABLE_DB = 20.0
"""Signal over noise from which a tensor counts as represented: noise below a hundredth of its power."""

Coder = Callable[[Float32], Float32]
Float64 = npt.NDArray[np.float64]


def _decoded(make: Callable[[Float32], QTensor]) -> Coder:
    return lambda x: make(x).dequantize()


def _product(x: Float32) -> Float32:
    rows = x.reshape(-1, 4)
    quantizer = ProductQuantizer.fit(rows, 1, 16, seed=samples.SEED)
    return quantizer.decode(quantizer.encode(rows)).reshape(x.shape)


CODERS: Mapping[str, tuple[int, Coder]] = {
    "int8": (256, _decoded(lambda x: quantize(x, "int8"))),
    "int4": (16, _decoded(lambda x: quantize(x, "int4"))),
    "u8 with a zero point": (256, _decoded(lambda x: quantize(x, "u8", symmetric=False))),
    "powers of two, 4 bits": (16, _decoded(lambda x: quantize_pow2(x, 4))),
    "16 centroids": (16, _decoded(lambda x: quantize_codebook(x, 16, centroids="real"))),
    "16 prototypes of 4 values": (64, _product),
}
"""Largest number of values that a code can reach, and the code."""


@claim(
    "N01",
    "N04",
    text='"Mapping input values from a large set ... to output values in a (countable) smaller set"',
    data="4,096 normal values (seed 7); a code quantized again must stay as it is",
)
def smaller_set(x: Float32 | None = None, coders: Mapping[str, tuple[int, Coder]] = CODERS) -> list[Case]:
    """Count the values that each code reaches, and quantize what came out again."""
    values = samples.normal(4096) if x is None else x
    cases = []
    for name, (size, coder) in coders.items():
        once = coder(values)
        reached = int(np.unique(once).size)
        # The scale of what came out is found again, to a rounding of float32.
        stays = bool(np.allclose(coder(once), once, rtol=1e-6, atol=0))
        cases.append(Case(name, reached, f"of {np.unique(values).size:,} values left", reached <= size and stays))
    return cases


def textbook_scale(x: Float32, bits: int = 8) -> float:
    """Scale of the lecture notes, literally: ``(r_max - r_min) / (2**b - 1)``."""
    return float((x.max().astype(np.float64) - x.min()) / (2**bits - 1))


def textbook(x: Float32, scale: float, zero: int, bits: int = 8) -> Float64:
    """Quantize and dequantize by the formulas of the lecture notes, literally, in float64."""
    codes = np.clip(np.rint(x.astype(np.float64) / scale) + zero, 0, 2**bits - 1)
    real: Float64 = scale * (codes - zero)
    return real


@claim(
    "N18",
    text='"s = (r_max - r_min) / (2^b - 1)"',
    data="normal values (seed 7), a constant tensor, a tensor of zeros; a scale must be positive",
)
def literal_scale(tensors: Mapping[str, Float32] | None = None) -> list[Case]:
    """Take the scale from each tensor as the formula says."""
    given = tensors or {
        "normal values": samples.normal(),
        "a constant tensor": np.full(16, 2.5, np.float32),
        "a tensor of zeros": np.zeros(16, np.float32),
    }
    return [Case(name, textbook_scale(x), "is the scale", textbook_scale(x) > 0) for name, x in given.items()]


@claim(
    "N19",
    text='"z = zero point", by which r = S(q - Z); real 0 must decode to 0, as padding and ReLU need',
    data="u8; the formula z = round(-r_min / s) over ranges with and without 0",
)
def exact_zero(ranges: Mapping[str, tuple[float, float]] | None = None) -> list[Case]:
    """Quantize 0 with the literal range, and with the range widened to contain it."""
    given = ranges or {"the range contains 0, -1..3": (-1.0, 3.0), "the range is 2..5": (2.0, 5.0)}
    cases = []
    for name, (lo, hi) in given.items():
        scale = textbook_scale(np.array([lo, hi], np.float32))
        zero = int(np.clip(np.rint(-lo / scale), 0, 255))
        # A zero point that must fit its 8 bits is clipped; what 0 then becomes is what padding adds to a sum.
        back = scale * (np.clip(np.rint(0 / scale) + zero, 0, 255) - zero)
        top = scale * (np.clip(np.rint(hi / scale) + zero, 0, 255) - zero)
        error = max(abs(float(back)), abs(float(top) - hi))
        cases.append(Case(name, error, "is the error of 0 or of the largest value", error <= scale / 2 * (1 + 1e-9)))
    return cases


@claim(
    "N17",
    "N20",
    text='"If z = 0: symmetric quantization" with q = clip{round(r/s) + z, 0, 2^b - 1}',
    data="u8, z = 0, by the formula: post-ReLU and normal values (seed 7); at least 20 dB must be left",
)
def literal_symmetric(tensors: Mapping[str, Float32] | None = None) -> list[Case]:
    """Quantize by the literal formula without a zero point; its clip cuts off negative values."""
    given = tensors or {"values are not negative (post-ReLU)": samples.relu(), "values have signs": samples.normal()}
    cases = []
    for name, x in given.items():
        db = sqnr_db(x, textbook(x, textbook_scale(x), 0))
        cases.append(Case(name, db, "dB", db >= USABLE_DB))
    return cases


@claim(
    "N23",
    "N24",
    text='"r = S(q - Z)", to half a step; "Clip function works on any values outside the range"',
    data="65,536 normal values (seed 7), u8 with a zero point; largest error in steps of the scale",
)
def half_a_step(x: Float32 | None = None, percentile: float = 10.0) -> list[Case]:
    """Compare the largest error with half a step, for a range that covers the data and one that does not."""
    values = samples.normal() if x is None else x
    lo, hi = np.percentile(values, [percentile, 100 - percentile])
    bounds = {
        "the range covers the data": Range([values.min()], [values.max()]),
        f"the range ends at the {percentile:g}th and {100 - percentile:g}th percentile": Range([lo], [hi]),
    }
    cases = []
    for name, bound in bounds.items():
        q = quantize(values, "u8", symmetric=False, range=bound)
        step = float(q.scales[0].item())
        largest = float(measure_errors(values, q.dequantize()).max_error) / step
        # float32 rounds quotient and product; half a step widens by a few units in the last place.
        held = largest <= 0.5 * (1 + 1e-5) + 1e-5
        cases.append(Case(name, largest, f"steps, {q.saturated:,} values clipped", held))
    return cases


@claim(
    "N05",
    "N21",
    text='"If z != 0: asymmetric quantization": worth its zero point',
    data="int8, mean square error of symmetric over asymmetric: post-ReLU values, ffn_down's input after GELU, "
    "normal values, trained weights",
)
def asymmetric_gain(tensors: Mapping[str, Float32] | None = None, least: float = 1.5) -> list[Case]:
    """Divide the square error without by the one with a zero point."""
    given = tensors or {
        "post-ReLU values": samples.relu(),
        "activations after GELU": samples.operands("ffn_down")[0],
        "normal values": samples.normal(),
        "trained weights": samples.operands("ffn_down")[1],
    }
    cases = []
    for name, x in given.items():
        without, with_zero = (
            float(measure_errors(x, quantize(x, "int8", symmetric=which).dequantize()).mean_square)
            for which in (True, False)
        )
        gain = without / with_zero
        cases.append(Case(name, gain, "x less square error", gain >= least))
    return cases
