"""A user's operands: round trips through .npz files, and one clear error for each way a file can be wrong."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant.contraction import Gemm
from workloads import Network, from_npz

RNG = np.random.default_rng(7)
LHS = RNG.standard_normal((2, 3)).astype(np.float32)
RHS = RNG.standard_normal((3, 5)).astype(np.float32)
BIAS = RNG.standard_normal(5).astype(np.float32)


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def refused(path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        from_npz(path)


def test_one_layer_comes_back_as_saved(tmp_path: Path) -> None:
    network = from_npz(saved(tmp_path, lhs=LHS, rhs=RHS, bias=BIAS))
    assert network.name == "mine"
    lhs, rhs, bias = network.record(network.evaluation)["gemm"]
    np.testing.assert_array_equal(lhs, LHS)
    np.testing.assert_array_equal(rhs, RHS)
    assert bias is not None
    np.testing.assert_array_equal(bias, BIAS)
    out = network.run(network.evaluation)["gemm.out"]
    np.testing.assert_allclose(out, LHS.astype(np.float64) @ RHS + BIAS, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_of_any_width_become_float32(dtype: str, tmp_path: Path) -> None:
    network = from_npz(str(saved(tmp_path, lhs=LHS.astype(dtype), rhs=RHS.astype(dtype))))
    assert network.evaluation["lhs"].dtype == np.float32
    np.testing.assert_array_equal(network.evaluation["lhs"], LHS.astype(dtype).astype(np.float32))


def test_without_calibration_static_schemes_calibrate_on_the_operands_themselves(tmp_path: Path) -> None:
    network = from_npz(saved(tmp_path, lhs=LHS, rhs=RHS))
    np.testing.assert_array_equal(network.calibration["lhs"], LHS)
    expected = "the evaluated operands themselves, since the file has no calibration"
    assert network.calibration_source == expected


def test_calibration_may_have_another_number_of_rows(tmp_path: Path) -> None:
    calibration = RNG.standard_normal((7, 3))
    network = from_npz(saved(tmp_path, lhs=LHS, rhs=RHS, calibration=calibration))
    np.testing.assert_array_equal(network.calibration["lhs"], calibration.astype(np.float32))
    assert network.calibration_source == "calibration arrays of the file"
    assert network.run(network.calibration)["gemm.out"].shape == (7, 5)


def test_several_layers_run_side_by_side(tmp_path: Path) -> None:
    arrays = {"a.lhs": LHS, "a.rhs": RHS, "b.x.lhs": RHS, "b.x.rhs": RHS.T, "b.x.calibration": RHS[:2]}
    network = from_npz(saved(tmp_path, **arrays))
    assert [layer.name for layer in network.layers] == ["a", "b.x"]
    assert network.layer("b.x").gemm == Gemm(1, 3, 5, 3)
    out = network.run(network.evaluation)
    np.testing.assert_allclose(out["a.out"], LHS @ RHS, rtol=1e-5)
    np.testing.assert_allclose(out["b.x.out"], RHS @ RHS.T, rtol=1e-5)
    assert network.calibration_source == ("calibration arrays of the file; for a the evaluated operands themselves")


def test_contraction_and_activation_operands(tmp_path: Path) -> None:
    q, k = RNG.standard_normal((2, 3, 5, 7)), RNG.standard_normal((2, 3, 11, 7))
    path = saved(tmp_path, lhs=q, rhs=k, contraction="bhqd,bhkd->bhqk", rhs_kind="activation")
    network = from_npz(path)
    layer = network.layers[0]
    assert layer.gemm == Gemm(6, 5, 7, 11)
    assert (layer.rhs_kind, layer.rhs_producer) == ("activation", "input")
    out = network.run(network.evaluation)["gemm.out"]
    np.testing.assert_allclose(out, np.einsum("bhqd,bhkd->bhqk", q, k), rtol=1e-4, atol=1e-5)


BAD = LHS.astype(np.float64)
BAD[1, 2] = np.nan
HUGE = LHS.astype(np.float64)
HUGE[0, 1] = 1e300


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"lhs": np.ones((2, 5)), "rhs": np.ones((7, 3))}, "lhs [m, k] and rhs [k, n] must share k, not 5 and 7"),
        (
            {"a.lhs": np.ones((2, 5)), "a.rhs": np.ones((7, 3))},
            "a.lhs [m, k] and a.rhs [k, n] must share k, not 5 and 7",
        ),
        (
            {"lhs": LHS, "rhs": RHS, "calibration": RHS},
            "calibration [m, k] and rhs [k, n] must share k, not 5 and 3",
        ),
        ({"lhs": LHS[0], "rhs": RHS}, "lhs must have the 2 axes [m, k], not shape [3]"),
        ({"lhs": LHS[:0], "rhs": RHS}, "lhs must have elements, not shape [0, 3]"),
        ({"lhs": LHS}, "operands must have rhs, not only lhs"),
        ({"a.rhs": RHS, "a.bias": BIAS}, "operands must have a.lhs, not only a.rhs, a.bias"),
        ({}, "operands must have lhs and rhs, not no array"),
        (
            {"lhs": LHS, "rhs": RHS, "scale": LHS},
            "arrays must be lhs, rhs, bias, calibration, contraction or rhs_kind, alone or as in NAME.lhs, not 'scale'",
        ),
        (
            {"lhs": LHS, "rhs": RHS, "gemm.lhs": LHS, "gemm.rhs": RHS},
            "layer gemm must be given once, not as lhs and as gemm.lhs",
        ),
        ({"lhs": BAD, "rhs": RHS}, "lhs must be finite in float32, not nan at [1, 2]"),
        ({"lhs": LHS, "rhs": RHS * np.inf}, "rhs must be finite in float32, not"),
        ({"lhs": HUGE, "rhs": RHS}, "lhs must be finite in float32, not 1e+300 at [0, 1]"),
        ({"lhs": LHS.astype(np.int64), "rhs": RHS}, "lhs must be float16, float32 or float64, not int64"),
        ({"lhs": LHS * 1j, "rhs": RHS}, "lhs must be float16, float32 or float64, not complex64"),
        ({"lhs": LHS, "rhs": RHS, "bias": BIAS[:2]}, "bias must have shape [5], not [2]"),
        ({"lhs": LHS, "rhs": RHS, "rhs_kind": "w"}, "rhs_kind must be weight or activation, not 'w'"),
        (
            {"lhs": LHS, "rhs": RHS, "contraction": np.ones(2)},
            "contraction must be one text, not float64 of shape [2]",
        ),
        (
            {"lhs": LHS, "rhs": RHS, "contraction": "mk"},
            "contraction must look like 'mk,kn->mn' or 'conv2d stride=2 padding=1', not 'mk'",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text)) as caught:
        from_npz(saved(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.npz"
    refused(missing, f"operands must be an existing .npz file, not {str(missing)!r}")
    refused(tmp_path, f"operands must be an existing .npz file, not {str(tmp_path)!r}")


def broken(kind: str, folder: Path) -> Path:
    path = saved(folder, lhs=LHS, rhs=RHS)
    raw = path.read_bytes()
    if kind == "text":
        path.write_text("lhs, rhs\n1, 2\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif kind == "flipped":
        at = raw.index(LHS.tobytes())
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, LHS)
    elif kind == "pickled":
        np.savez(path, lhs=np.array([{}], object), rhs=RHS)
    elif kind == "member":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("lhs", "no array")
    return path


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "flipped", "npy", "pickled", "member"])
def test_a_malformed_file_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = broken(kind, tmp_path)
    text = f"operands must be an .npz archive as numpy.savez writes it, not {str(path)!r} ("
    with pytest.raises(ValueError, match="^" + re.escape(text)) as caught:
        from_npz(path)
    assert "\n" not in str(caught.value)


def test_network_of_a_file_keeps_its_arrays_read_only(tmp_path: Path) -> None:
    network: Network = from_npz(saved(tmp_path, lhs=LHS, rhs=RHS))
    with pytest.raises(ValueError, match="read-only"):
        network.tensors["rhs"][0, 0] = 1
