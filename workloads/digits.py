"""Handwritten digits: a small real task whose networks are trained where they are needed.

The images are those of scikit-learn (UCI "Optical Recognition of Handwritten Digits", 1,797 of 8x8 pixels), split
80:20 with every class in proportion.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .function import Function, FunctionKind
from .layer import Layer
from .network import Network
from .tensors import FloatArray

PIXELS, CLASSES = 64, 10


@dataclass(frozen=True, eq=False)
class Digits:
    """Images and their classes, to train and to test on.

    Parameters
    ----------
    train, test : float32 [images, 64]
        Brightness in 0..1.
    train_classes, test_classes : int64 [images]
        In 0..9.
    """

    train: FloatArray
    train_classes: npt.NDArray[np.int64]
    test: FloatArray
    test_classes: npt.NDArray[np.int64]


@functools.cache
def load_digits() -> Digits:
    """Read the images.

    Raises
    ------
    ValueError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as read  # noqa: PLC0415  an optional extra
        from sklearn.model_selection import train_test_split  # noqa: PLC0415
    except ImportError:
        msg = "the digits task must have scikit-learn, which pip install 'hwsim[qat]' brings"
        raise ValueError(msg) from None
    images, classes = read(return_X_y=True)
    pixels = (images / 16).astype(np.float32)
    split: list[Any] = train_test_split(
        pixels, classes.astype(np.int64), test_size=0.2, stratify=classes, random_state=0
    )
    train, test, train_classes, test_classes = split
    return Digits(train, train_classes, test, test_classes)


def digits_network(weights: Mapping[str, npt.ArrayLike]) -> Network:
    """Two linear layers with a ReLU between them, on the digits.

    Parameters
    ----------
    weights : float
        ``hidden.weight`` [64, h], ``hidden.bias`` [h], ``logits.weight`` [h, 10] and ``logits.bias`` [10].

    Returns
    -------
    network
        Calibrated on the training images, evaluated on the test images.

    Raises
    ------
    ValueError
        If an array is missing or of another shape, or scikit-learn is not installed.
    """
    names = ("hidden.weight", "hidden.bias", "logits.weight", "logits.bias")
    if set(weights) != set(names):
        msg = f"weights must be {', '.join(names)}, not {', '.join(weights) or 'none'}"
        raise ValueError(msg)
    tensors = {name: np.asarray(weights[name], np.float32) for name in names}
    width = tensors["hidden.bias"].size
    shapes = ((PIXELS, width), (width,), (width, CLASSES), (CLASSES,))
    for name, shape in zip(names, shapes, strict=True):
        if tensors[name].shape != shape:
            msg = f"{name} must have shape {list(shape)}, not {list(tensors[name].shape)}"
            raise ValueError(msg)
    digits = load_digits()
    count = len(digits.test)
    nodes = (
        Layer(
            "hidden",
            "mk,kn->mn",
            {"m": count, "k": PIXELS, "n": width},
            "pixels",
            "hidden.weight",
            "hidden",
            bias="hidden.bias",
        ),
        Function("relu", FunctionKind.RELU, ("hidden",), "positive", "mn", {"m": count, "n": width}),
        Layer(
            "logits",
            "mk,kn->mn",
            {"m": count, "k": width, "n": CLASSES},
            "positive",
            "logits.weight",
            "logits",
            bias="logits.bias",
            lhs_producer="function",
        ),
    )
    return Network(
        "digits",
        "two linear layers on scikit-learn's digits",
        nodes,
        tensors,
        {"pixels": digits.train},
        {"pixels": digits.test},
        calibration_source=f"{len(digits.train)} training images",
        evaluation_source=f"{count} test images",
    )
