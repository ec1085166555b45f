"""Compiled requantization holds the bits of the numpy path and of exact arithmetic, and refuses what they refuse."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numba  # noqa: F401  its presence lets smaller arrays be compiled
import numpy as np
import pytest

from hwsim.datapath import PROFILES, Convertor, FixedPoint, ScalePair, multiplier_profile, requantization, requantize
from hwsim.datapath.recording import Record
from quant import IntFormat, Rounding
from tests import reference

SHAPE = (3, 5, 7, 11)
FAR = 1 << 62


@pytest.fixture
def compiled_runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each compiled run gave a result, as they happen."""
    monkeypatch.setattr(requantization, "SOME", 1)
    seen: list[bool] = []
    inner = requantization._compiled

    def spy(*args: Any) -> Any:
        result = inner(*args)
        seen.append(result is not None)
        return result

    monkeypatch.setattr(requantization, "_compiled", spy)
    return seen


def accumulators() -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(7)
    size = int(np.prod(SHAPE))
    wide = rng.integers(-(2**31), 2**31, size)
    near = rng.integers(-600, 600, size)
    acc = np.where(rng.random(size) < 0.3, wide, near)
    acc[:8] = [-(2**31), 2**31 - 1, 2**24 + 1, -(2**24) - 1, 0, -1, 1, -(2**30)]
    return acc.reshape(SHAPE).astype(np.int32)


def scales(name: str, layout: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(8)
    if name == "cutlass-two-scales":
        columns = (*[1] * (len(SHAPE) - 1), layout[-1]) if layout else (1,)
        rows = (*layout[:-1], 1) if layout else (1,)
        return ScalePair(
            rng.uniform(0.01, 0.9, rows).astype(np.float32), rng.uniform(0.01, 0.9, columns).astype(np.float32)
        )
    if name == "nvdla-convertor":
        return Convertor(
            rng.integers(-99, 99, layout), rng.integers(-(2**15), 2**15, layout), rng.integers(0, 32, layout)
        )
    if "shift" in name:
        return 2.0 ** -rng.integers(0, 10, layout).astype(np.float64)
    # Halves make ties; the rest does not.
    return np.where(rng.random(layout) < 0.5, 2.0 ** -rng.integers(1, 8, layout), rng.uniform(0.004, 0.9, layout))


def slow_path(monkeypatch: pytest.MonkeyPatch, acc: Any, scale: Any, **call: Any) -> Any:
    with monkeypatch.context() as change:
        change.setattr(requantization, "SOME", FAR)
        return requantize(acc, scale, **call)


@pytest.mark.parametrize("name", PROFILES)
def test_compiled_loops_equal_the_numpy_path(
    name: str, compiled_runs: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    acc, real = accumulators(), PROFILES[name].real_bias
    rng = np.random.default_rng(9)
    bias = rng.integers(-99, 99, 11) * 0.25 if real else rng.integers(-99, 99, 11)
    settings: list[tuple[Any, Any, dict[str, Any]]] = [
        (acc, (), {"zero_point": 3, "output": "int16"}),
        (acc.astype(np.int64) // 2, (11,), {"zero_point": rng.integers(0, 15, 11), "bias": bias, "output": "u4"}),
    ]
    for values, layout, call in settings:
        got = requantize(values, scales(name, layout), profile=name, **call)
        assert compiled_runs.pop()
        want = slow_path(monkeypatch, values, scales(name, layout), profile=name, **call)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", [n for n in PROFILES if n not in {"cutlass-two-scales", "nvdla-convertor"}])
def test_compiled_loops_equal_exact_arithmetic(name: str, compiled_runs: list[bool]) -> None:
    acc = np.concatenate([accumulators().ravel()[:400], np.arange(-600, 600, dtype=np.int32)])
    for scale in (0.5, 2.0**-4) if "shift" in name else (0.5, 0.0390625, 0.0171):
        got = requantize(acc, scale, profile=name, zero_point=-7, output="int16")
        want = [reference.requantize(int(a), Fraction(scale), -7, name) for a in acc]
        assert compiled_runs.pop()
        np.testing.assert_array_equal(got, np.clip(want, -(2**15), 2**15 - 1))


LAYOUTS = [(3, 1, 1, 1), (5, 1, 1), (1, 7, 1), (7, 11), (3, 5, 7, 1), (1, 5, 1, 11), SHAPE]


@pytest.mark.parametrize("name", ["multiply-even", "cutlass-two-scales"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_scales_vary_along_any_axes(
    name: str, layout: tuple[int, ...], compiled_runs: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for values in (accumulators(), np.moveaxis(accumulators(), 0, 1).copy().swapaxes(0, 1)):
        zero = np.arange(7).reshape(7, 1)
        got = requantize(values, scales(name, layout), profile=name, zero_point=zero)
        assert compiled_runs.pop()
        want = slow_path(monkeypatch, values, scales(name, layout), profile=name, zero_point=zero)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.name)
def test_every_rounding_and_width_compiles(rounding: Rounding, compiled_runs: list[bool]) -> None:
    acc = np.arange(-3000, 3000)
    for bits in (8, 16):
        multiplier, shift = reference.quantize_multiplier(Fraction(3, 64), bits)
        got = requantize(acc, 3 / 64, profile=multiplier_profile(bits, rounding), output="int16")
        assert compiled_runs.pop()
        assert got.tolist() == [
            reference.rounding_shift(int(a) * multiplier, bits - 1 + shift, rounding.name) for a in acc
        ]


def test_a_fused_bias_is_rounded_once(compiled_runs: list[bool]) -> None:
    rng = np.random.default_rng(7)
    acc = rng.integers(-(2**26), 2**26, 500)
    row, column = Fraction(3, 7).limit_denominator(2**20), Fraction(5, 11)
    pair = ScalePair(np.array([float(row)], np.float32), np.array([float(column)], np.float32))
    bias = np.float32(0.1)
    got = requantize(acc, pair, profile="cutlass-two-scales", bias=bias, output=IntFormat(40))
    exact = [Fraction(float(x)) for x in (pair.rows[0], pair.columns[0], bias)]
    assert compiled_runs.pop()
    assert got.tolist() == [reference.two_scales(int(a), *exact) for a in acc]


def test_upward_scales_shift_before_the_fraction(compiled_runs: list[bool]) -> None:
    acc = np.arange(-2000, 2000)
    got = requantize(acc, 37.3, output=IntFormat(20))
    assert compiled_runs.pop()
    assert got.tolist() == [reference.requantize(int(a), Fraction(37.3), 0, "gemmlowp-double") for a in acc]


INT32 = "must lie in int32 (-2147483648..2147483647), not"
HUGE = Convertor(np.array(0), np.array(2**40), np.array(0))
LEFT = FixedPoint(np.array(1 << 30), np.array(-32), 32)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"acc": np.array([0] * 99 + [2**31])}, f"acc {INT32} 2147483648"),
    ({"acc": np.array([0] * 99 + [2**63], np.uint64)}, f"acc {INT32} 9223372036854775808"),
    ({"acc": np.array([1] + [0] * 99), "bias": 2**31 - 1}, f"acc + bias {INT32} 2147483648"),
    (
        {"acc": np.array([5000] * 99), "scale": 2.0**20},
        "accumulator shifted left by 21 must fit int32, not reach 10485760000",
    ),
    (
        {"scale": HUGE, "profile": "nvdla-convertor", "acc": np.full(99, 2**31 - 1)},
        f"product and shift must fit 64 bits, not {(2**31 - 1) * 2**40} and 0",
    ),
    (
        {"scale": LEFT, "profile": "tflite-single"},
        "scale must be below 2**31 for one rounding shift, not need a shift of -1",
    ),
]


@pytest.mark.parametrize(("change", "text"), REFUSED, ids=[text[:30] for _, text in REFUSED])
def test_what_leaves_its_register_is_refused_as_by_the_numpy_path(
    change: dict[str, Any], text: str, compiled_runs: list[bool]
) -> None:
    call: dict[str, Any] = {"acc": np.arange(99), "scale": 0.5} | change
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        requantize(**call)
    assert compiled_runs == [False]


def test_products_that_only_these_values_fit_are_computed(compiled_runs: list[bool]) -> None:
    registers = Convertor(np.array(0), np.array(2**40), np.array(20))
    got = requantize(np.arange(-9, 9), registers, profile="nvdla-convertor", output=IntFormat(40))
    assert compiled_runs == [False]
    assert got.tolist() == [a << 20 for a in range(-9, 9)]


def test_threads_cut_without_a_seam(monkeypatch: pytest.MonkeyPatch, compiled_runs: list[bool]) -> None:
    from hwsim.datapath import compiled

    monkeypatch.setattr(compiled, "STRIP", 64)
    monkeypatch.setattr(compiled, "_threads", lambda: 2)
    for layout in ((), (3, 5, 7, 1)):
        acc, scale = accumulators(), scales("multiply-even", layout)
        got = requantize(acc, scale, profile="multiply-even")
        np.testing.assert_array_equal(got, slow_path(monkeypatch, acc, scale, profile="multiply-even"))


def test_small_arrays_do_not_load_the_compiler() -> None:
    import subprocess
    import sys

    code = (
        "import sys, numpy as np; from hwsim.datapath import requantize;"
        "requantize(np.zeros((512, 1536), np.int32), 0.5); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "False"


def test_operations_that_a_record_does_not_know_are_refused() -> None:
    x = Record(1 << 31).element(32, np.dtype(np.int32))
    with pytest.raises(TypeError):
        np.sqrt(x)
    with pytest.raises(TypeError):
        np.median(x)  # type: ignore[call-overload]
