from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import activity, measure_activity
from quant import IntFormat


def flips(before: int, after: int, bits: int) -> int:
    return bin((before ^ after) & (2**bits - 1)).count("1")


class Register:
    """A register that counts its toggles."""

    def __init__(self, bits: int) -> None:
        self.bits, self.value, self.toggles = bits, 0, 0

    def load(self, value: int) -> None:
        self.toggles += flips(self.value, value, self.bits)
        self.value = value


def brute_force(
    lhs: list[list[int]],
    rhs: list[list[int]],
    rows: int,
    columns: int,
    dataflow: str,
    bits: tuple[int, ...] = (8, 8, 16, 32),
) -> list[int]:
    """Simulate every register of every processing element, one load after the other."""
    m_size, k_size, n_size = len(lhs), len(rhs), len(rhs[0])
    array = [[[Register(b) for b in bits] for _ in range(columns)] for _ in range(rows)]
    outer = m_size if dataflow == "output_stationary" else k_size
    for top in range(0, outer, rows):
        for left in range(0, n_size, columns):
            for i in range(min(rows, outer - top)):
                for j in range(min(columns, n_size - left)):
                    a, b, product, acc = array[i][j]
                    n = left + j
                    if dataflow == "output_stationary":
                        acc.load(0)
                        total = 0
                        for k in range(k_size):
                            a.load(lhs[top + i][k])
                            b.load(rhs[k][n])
                            product.load(lhs[top + i][k] * rhs[k][n])
                            total += lhs[top + i][k] * rhs[k][n]
                            acc.load(total)
                    else:
                        b.load(rhs[top + i][n])
                        for m in range(m_size):
                            a.load(lhs[m][top + i])
                            product.load(lhs[m][top + i] * rhs[top + i][n])
                            acc.load(sum(lhs[m][k] * rhs[k][n] for k in range(top, top + i + 1)))
    return [sum(array[i][j][r].toggles for i in range(rows) for j in range(columns)) for r in range(4)]


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary"])
@pytest.mark.parametrize("size", [(1, 40), (3, 18)])
def test_wide_arrays_and_long_streams_have_no_seam(
    size: tuple[int, int], dataflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counters that must be emptied after every few steps, and columns beyond a vector.
    monkeypatch.setattr(activity, "_LARGEST_COUNT", 64 * 7)
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (5, 7)).astype(np.int8), rng.integers(-128, 128, (7, 41)).astype(np.int8)
    got = measure_activity(lhs, rhs, rows=size[0], columns=size[1], dataflow=dataflow)
    assert [got.lhs_toggles, got.rhs_toggles, got.product_toggles, got.accumulator_toggles] == brute_force(
        lhs.tolist(), rhs.tolist(), *size, dataflow
    )


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary"])
def test_registers_of_more_than_32_bits_toggle_in_all_of_them(dataflow: Any) -> None:
    lhs, rhs = [[-32768, 3]], [[-32768], [-7]]
    got = measure_activity(
        lhs, rhs, rows=2, columns=2, dataflow=dataflow, accumulator_bits=40,
        lhs_format=IntFormat(17), rhs_format=IntFormat(17),
    )  # fmt: skip
    assert [got.lhs_toggles, got.rhs_toggles, got.product_toggles, got.accumulator_toggles] == brute_force(
        lhs, rhs, 2, 2, dataflow, bits=(17, 17, 34, 40)
    )


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (8, 16)])
def test_toggles_are_those_of_every_register(size: tuple[int, int], dataflow: Any) -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (5, 7)).astype(np.int8), rng.integers(-128, 128, (7, 3)).astype(np.int8)
    lhs[rng.random((5, 7)) < 0.3] = 0
    rhs[rng.random((7, 3)) < 0.3] = 0
    got = measure_activity(lhs, rhs, rows=size[0], columns=size[1], dataflow=dataflow)
    assert [got.lhs_toggles, got.rhs_toggles, got.product_toggles, got.accumulator_toggles] == brute_force(
        lhs.tolist(), rhs.tolist(), *size, dataflow
    )
    assert got.macs == 5 * 7 * 3
    zero = sum(lhs[m, k] == 0 or rhs[k, n] == 0 for m in range(5) for k in range(7) for n in range(3))
    assert got.zero_macs == zero


def test_nothing_toggles_for_zeros_and_widths_bound_the_toggles() -> None:
    idle = measure_activity(np.zeros((5, 7), np.int8), np.ones((7, 3), np.int8), rows=2, columns=2)
    assert (idle.lhs_toggles, idle.product_toggles, idle.accumulator_toggles) == (0, 0, 0)
    wide = measure_activity([[-1]], [[1]], rows=1, columns=1, lhs_format=IntFormat(4), rhs_format=IntFormat(4))
    assert (wide.lhs_toggles, wide.rhs_toggles, wide.product_toggles, wide.accumulator_toggles) == (4, 1, 8, 32)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lhs": [1]}, "lhs [m, k] and rhs [k, n] must contract, not (1,) and (1, 1)"),
        ({"rows": 0}, "rows and columns must be at least 1, not 0 and 1"),
        ({"dataflow": "row"}, "dataflow must be output_stationary or weight_stationary, not 'row'"),
    ],
)
def test_bad_input_gets_one_clear_error(change: dict[str, Any], text: str) -> None:
    call: dict[str, Any] = {"lhs": [[1]], "rhs": [[1]], "rows": 1, "columns": 1} | change
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        measure_activity(**call)
