"""Quantization-aware training: fake quantization, and accuracy beside post-training quantization."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from quant import fake_quantize, quantize

from . import samples
from .claim import Case, NotMeasuredError, claims_of
from .samples import Float32

claim = claims_of("training")

NEEDS = ("torch", "sklearn")
MISSING = "needs {}: pip install 'hwsim[qat]'"
BITS = (8, 4, 2)
EPOCHS = 8

Row = dict[str, Any]
Study = Callable[[], list[Row]]


@functools.cache
def study() -> list[Row]:
    """Measure accuracy on scikit-learn's digits, quantized after training and trained quantized.

    Raises
    ------
    NotMeasuredError
        If PyTorch or scikit-learn is not installed; says how to get it.
    """
    absent = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if absent:
        raise NotMeasuredError(MISSING.format(" and ".join(absent).replace("sklearn", "scikit-learn")))
    import torch  # noqa: PLC0415  an optional extra

    from hwsim.training import qat_study  # noqa: PLC0415

    threads = torch.get_num_threads()
    try:
        # The matrices are so small that threads only wait for each other.
        torch.set_num_threads(1)
        found = qat_study(BITS, epochs=EPOCHS, seed=samples.SEED).to_dict("records")
    finally:
        torch.set_num_threads(threads)
    return [{str(name): value for name, value in row.items()} for row in found]


def label(row: Row) -> str:
    """Name strategy and width of a row."""
    return f"{row['strategy'].replace('_', '-')}, {row['weight_bits']} bits"


@claim(
    "N42",
    "C26",
    text='Fake quantization: "Floats that are clip and rounded like ints"',
    data="65,536 normal values (seed 7), int8 per tensor and per channel, int4 in groups, u8 with a zero point: values "
    "that differ from the integers' in any bit",
)
def fake_is_real(x: Float32 | None = None, fake: Callable[..., Float32] = fake_quantize) -> list[Case]:
    """Compare fake quantization with integers and their scale, bit for bit."""
    values = samples.normal().reshape(256, 256) if x is None else x
    cases = []
    for fmt, layout, symmetric in (
        ("int8", "1", True),
        ("int8", "n:1", True),
        ("int4", "k:32,n:1", True),
        ("u8", "1", False),
    ):
        codes = quantize(values, fmt, layout, axes="kn", symmetric=symmetric)
        zero = codes.element_zero_point()
        shifted = codes.codes.astype(np.float32) - (np.float32(0) if zero is None else zero.astype(np.float32))
        real = shifted * codes.element_scale()
        differ = int(np.count_nonzero(fake(values, fmt, layout, axes="kn", symmetric=symmetric) != real))
        cases.append(Case(f"{fmt}, layout {layout}", differ, "values differ", differ == 0))
    return cases


@claim(
    "N41",
    "C29",
    "C30",
    text='QAT "should perform better than any post-training quantization technique"',
    data="digits of scikit-learn, 64-32-10 network on the integer datapath: test accuracy after QAT less after PTQ, "
    "both trained equally long; better: above 0",
)
def qat_is_better(results: Study = study) -> list[Case]:
    """Accuracy gained by training quantized, for each width and strategy."""
    return [
        Case(
            label(row),
            100 * (row["qat_accuracy"] - row["ptq_accuracy"]),
            f"points gained, from {100 * row['ptq_accuracy']:.1f} % (float {100 * row['float_accuracy']:.1f} %)",
            row["qat_accuracy"] > row["ptq_accuracy"],
        )
        for row in results()
    ]


@claim(
    "C27",
    "C28",
    text='"We\'re not actually quantizing the model during training": yet the trained network is the integer one',
    data="the same networks: test accuracy of the fake-quantized network in PyTorch less that of the integer datapath",
)
def trained_is_deployed(results: Study = study, within: float = 0.5) -> list[Case]:
    """Compare what was trained with what the integers compute."""
    return [
        Case(
            label(row),
            abs(100 * (row["fake_accuracy"] - row["qat_accuracy"])),
            "points apart",
            abs(100 * (row["fake_accuracy"] - row["qat_accuracy"])) <= within,
        )
        for row in results()
    ]
