"""What zero points cost, against the table of terms worked out by hand, and the epilogue's factors."""

from typing import Any

import pytest

from quant.verify import Correction, decide

M, K, N = 7, 12, 5
SIZES = {"m": M, "k": K, "n": N}


def terms(**arguments: Any) -> dict[str, Correction]:
    return {one.term: one for one in decide("mk,kn->mn", sizes=SIZES, **arguments).corrections}


@pytest.mark.parametrize(
    ("layout", "static", "when", "multiply_adds", "constants"),
    [
        ("1", True, "offline", 0, N),
        ("1", False, "epilogue", N, N),
        ("m:1", True, "epilogue", M * N, N),
        ("m:1", False, "epilogue", M * N, N),
        ("k:1", True, "offline", 0, N),
        ("k:1", False, "epilogue", K * N, K * N),
        ("k:4", False, "epilogue", 3 * N, 3 * N),
        ("m:1,k:4", False, "epilogue", M * N * 3, N * 3),
        ("m:1,k:1", False, "epilogue", M * N * K, N * K),
    ],
)
def test_zero_point_of_activations(layout: str, static: bool, when: str, multiply_adds: int, constants: int) -> None:
    found = terms(lhs_zero=layout, lhs_static=static)["T_A"]
    assert (found.when, found.multiply_adds, found.constants) == (when, multiply_adds, constants)
    assert (found.extra_channels, found.adds) == (0, 0)


@pytest.mark.parametrize(
    ("layout", "channels", "constants"),
    [("1", 1, 1), ("n:1", 1, N), ("k:1", 1, K), ("k:4", 1, 3), ("k:4,n:1", 3, 3 * N), ("k:1,n:1", N, K * N)],
)
def test_zero_point_of_weights_is_always_online(layout: str, channels: int, constants: int) -> None:
    found = terms(rhs_zero=layout)["T_W"]
    assert (found.when, found.extra_channels, found.adds, found.constants) == ("online", channels, M * K, constants)


@pytest.mark.parametrize(
    ("lhs", "rhs", "static", "when", "constants"),
    [
        ("1", "1", True, "offline", 1),
        ("1", "n:1", True, "offline", N),
        ("1", "n:1", False, "epilogue", N),
        ("m:1", "n:1", False, "epilogue", M * N),
    ],
)
def test_both_zero_points(lhs: str, rhs: str, static: bool, when: str, constants: int) -> None:
    found = terms(lhs_zero=lhs, rhs_zero=rhs, lhs_static=static)
    assert list(found) == ["T_A", "T_W", "T_AW"]
    assert (found["T_AW"].when, found["T_AW"].constants) == (when, constants)


def test_symmetric_operands_need_no_correction() -> None:
    assert terms() == {}


def test_nothing_is_offline_when_both_operands_are_activations() -> None:
    assert terms(lhs_zero="1", lhs_static=True, rhs_kind="activation")["T_A"].when == "online"
    assert terms(lhs_zero="1", lhs_static=True, rhs_kind="cached")["T_A"].when == "append"


def test_segments_need_their_own_sums() -> None:
    found = terms(rhs="n:1,k:4", lhs_zero="1", rhs_zero="n:1")
    assert found["T_A"].constants == 3 * N
    assert found["T_W"].multiply_adds == 3 * M * N
    assert found["T_W"].adds == M * K


def test_padding_must_hold_the_zero_point() -> None:
    sizes = {"b": 1, "c": 2, "h": 4, "w": 4, "o": 2, "r": 3, "s": 3}
    padded = decide("conv2d padding=1", sizes=sizes, lhs_zero="1", lhs_static=True).corrections[0]
    assert padded.condition == "absent terms are fed with the zero point of lhs"
    plain = decide("conv2d", sizes=sizes, lhs_zero="1", lhs_static=True).corrections[0]
    assert (plain.when, plain.condition) == ("offline", "")


def test_factors_of_the_epilogue() -> None:
    found = decide("mk,kn->mn", "m:1", "n:1 * n:1,k:4@int", sizes=SIZES)
    seen = [(f.operand, f.kind, f.output_axes, f.entries, f.bytes, f.when) for f in found.epilogue]
    assert seen == [
        ("lhs", "real", ("m",), M, 4 * M, "epilogue"),
        ("rhs", "real", ("n",), N, 4 * N, "epilogue"),
        ("rhs", "int", ("n",), 3 * N, 3 * N, "segment"),
    ]
    assert found.storage_bits("rhs") == 32 * N + 8 * 3 * N


def test_pixel_scales_of_a_pointwise_convolution_follow_the_output_pixel() -> None:
    sizes = {"b": 1, "c": 2, "h": 4, "w": 4, "o": 2, "r": 1, "s": 1}
    found = decide("conv2d", "per_token", "per_channel", sizes=sizes)
    assert [f.output_axes for f in found.epilogue] == [("p", "q"), ("o",)]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"rhs": "n:1", "lhs_static": True}, "accumulator"),
        ({"rhs": "n:1"}, "epilogue"),
        ({"lhs": "m:1", "rhs": "n:1", "lhs_static": True}, "epilogue"),
        ({"rhs": "n:1,k:4", "lhs_static": True}, "outer"),
        ({"rhs": "n:1", "lhs_static": True, "rhs_kind": "activation"}, "epilogue"),
    ],
)
def test_an_integer_bias_needs_a_static_per_tensor_activation_scale(arguments: Any, where: str) -> None:
    assert decide("mk,kn->mn", sizes=SIZES, **arguments).bias.where == where
