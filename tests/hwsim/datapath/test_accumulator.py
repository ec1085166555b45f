from __future__ import annotations

import dataclasses
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import Accumulator
from quant import Overflow


def test_defaults_are_the_int32_register_of_every_runtime() -> None:
    accumulator = Accumulator()
    assert accumulator.range == (-(2**31), 2**31 - 1)
    assert accumulator.overflow is Overflow.WRAP
    assert accumulator.dtype == np.int32
    assert not accumulator.overflow_stated
    assert Accumulator(32, Overflow.WRAP).overflow_stated
    assert Accumulator(32, Overflow.WRAP) == accumulator


def test_result_width_is_that_of_the_last_register() -> None:
    assert Accumulator(20).result_bits == 20
    assert Accumulator(16, spill_steps=3, spill_bits=40).result_bits == 40
    assert Accumulator(16, spill_steps=3, spill_bits=40).dtype == np.int64
    assert Accumulator(34, final_bits=32).format.bits == 32
    assert Accumulator(16, tree_bits=9).tree_range == (-256, 255)


def test_pickle_and_replace_keep_the_settings() -> None:
    accumulator = Accumulator(20, Overflow.SATURATE, dot_depth=4)
    assert pickle.loads(pickle.dumps(accumulator)) == accumulator  # noqa: S301 our own bytes
    assert dataclasses.replace(accumulator, bits=18) == Accumulator(18, Overflow.SATURATE, dot_depth=4)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"bits": 7}, ValueError, "bits must be in 8..64, not 7"),
        ({"bits": 65}, ValueError, "bits must be in 8..64, not 65"),
        ({"bits": None}, TypeError, "bits must be an int, not None"),
        ({"tree_bits": 7}, ValueError, "tree_bits must be in 8..64, not 7"),
        ({"dot_depth": 0}, ValueError, "dot_depth must be at least 1, not 0"),
        ({"dropped_bits": 32}, ValueError, "dropped_bits must be in 0..31, not 32"),
        ({"spill_steps": 0}, ValueError, "spill_steps must be at least 1, not 0"),
        ({"spill_bits": True}, TypeError, "spill_bits must be an int, not True"),
        ({"final_shift": 3}, ValueError, "final_shift must be 0 without final_bits, not 3"),
        ({"overflow": "wrap"}, TypeError, "overflow must be an Overflow, not 'wrap'"),
    ],
)
def test_bad_settings_get_one_clear_error(change: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        Accumulator(**change)


def test_exact_multiplication_compiles_nothing() -> None:
    code = (
        "import sys, numpy as np; from hwsim.datapath import matmul, requantize;"
        "requantize(matmul(np.ones((2, 3), np.int8), np.ones((3, 2), np.int8)), 0.5);"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 our own code
