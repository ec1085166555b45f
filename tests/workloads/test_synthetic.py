"""Synthetic operands: stated distributions, reproducible, drawn on demand."""

import re
from typing import Any

import numpy as np
import pytest

from quant.contraction import Gemm
from workloads import gemm, parse_gemm


def test_gemm_has_the_sizes_asked_for() -> None:
    network = gemm(3, 5, 7)
    assert network.layers[0].gemm == Gemm(1, 3, 5, 7)
    assert network.run(network.evaluation)["y"].shape == (3, 7)


def test_operands_depend_on_the_seed_alone() -> None:
    first, again, other = gemm(3, 5, 7, seed=7), gemm(3, 5, 7, seed=7), gemm(3, 5, 7, seed=8)
    np.testing.assert_array_equal(first.evaluation["x"], again.evaluation["x"])
    np.testing.assert_array_equal(first.tensors["gemm.weight"], again.tensors["gemm.weight"])
    assert (first.evaluation["x"] != other.evaluation["x"]).all()
    assert (first.tensors["gemm.weight"] != other.tensors["gemm.weight"]).all()


def test_calibration_is_an_independent_draw() -> None:
    network = gemm(200, 100, 2)
    x, y = network.evaluation["x"].ravel(), network.calibration["x"].ravel()
    assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(x.size)


def test_distributions_are_as_stated() -> None:
    normal, outliers, relu = (gemm(500, 130, 300, lhs=d).evaluation["x"] for d in ("normal", "outliers", "relu"))
    assert abs(normal.std() - 1) < 0.02
    np.testing.assert_array_equal(np.maximum(normal, 0), relu)
    factors = np.ones(130, np.float32)
    factors[[0, 64, 128]] = 20
    np.testing.assert_array_equal(normal * factors, outliers)
    assert abs(gemm(500, 130, 300).tensors["gemm.weight"].std() * np.sqrt(130) - 1) < 0.02


def test_sizes_too_large_to_draw_are_fine_as_long_as_nothing_is_drawn() -> None:
    assert gemm(10**5, 10**5, 10**5).macs == 10**15


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"m": 0}, "layer gemm: size must be a positive integer, not m=0"),
        ({"m": True}, "layer gemm: size must be a positive integer, not m=True"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
        ({"lhs": "gauss"}, "lhs must be one of normal, outliers, relu, not 'gauss'"),
    ],
)
def test_gemm_refuses(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        gemm(**{"m": 2, "k": 3, "n": 5, **arguments})


@pytest.mark.parametrize("text", ["64x384x1536", " 64X384x1536 ", "64×384×1536"])
def test_parse_gemm_reads_sizes(text: str) -> None:
    assert parse_gemm(text) == (64, 1536, 384)


@pytest.mark.parametrize("text", ["64x384", "0x3x5", "axbxc", "2x3x5x7", "-2x3x5", "2.0x3x5", ""])
def test_parse_gemm_refuses(text: str) -> None:
    message = f"gemm must be MxNxK in positive integers, as in 256x384x1536, not {text!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_gemm(text)


def test_the_name_says_which_size_is_which() -> None:
    assert gemm(128, 256, 512).name == "gemm m=128 n=512 k=256"
