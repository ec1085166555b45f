"""Accumulator widths against sums written out, and against the table of safe lengths worked out by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.formats import IntFormat
from quant.verify import accumulator_bits, channel_bits, decide, safe_length

# Safe lengths for accumulators of 16, 18, 20, 22, 24, 28, 32, 48 bits, then bits at 512 and at 4096 terms. Each follows
# from the extreme products: 128 * 128 = 2**14 sums to 2**31 - 2**14 in 131,071 terms.
TABLE = [
    ("int8", "int8", (1, 7, 31, 127, 511, 8_191, 131_071, 8_589_934_591), 25, 28),
    ("int8", "int8_narrow", (2, 8, 32, 129, 516, 8_256, 132_104, 8_657_571_872), 24, 27),
    ("int8_narrow", "int8_narrow", (2, 8, 32, 130, 520, 8_321, 133_144, 8_725_741_729), 24, 27),
    ("u8", "int8", (1, 4, 16, 64, 257, 4_112, 65_793, 4_311_810_305), 25, 28),
    ("u8", "int8_narrow", (1, 4, 16, 64, 259, 4_144, 66_311, 4_345_761_567), 25, 28),
    ("int8", "int4", (31, 127, 511, 2_047, 8_191, 131_071, 2_097_151, 137_438_953_471), 21, 24),
    ("int8_narrow", "int4_narrow", (36, 147, 589, 2_359, 9_436, 150_976, 2_415_617, 158_309_885_664), 20, 23),
    ("int4", "int4", (511, 2_047, 8_191, 32_767, 131_071, 2_097_151, 33_554_431, 2_199_023_255_551), 17, 20),
]
WIDTHS = (16, 18, 20, 22, 24, 28, 32, 48)


@pytest.mark.parametrize(("lhs", "rhs", "lengths", "at_512", "at_4096"), TABLE)
def test_safe_lengths_of_common_formats(
    lhs: str, rhs: str, lengths: tuple[int, ...], at_512: int, at_4096: int
) -> None:
    assert tuple(safe_length(bits, lhs, rhs) for bits in WIDTHS) == lengths
    assert accumulator_bits(512, lhs, rhs) == at_512
    assert accumulator_bits(4096, lhs, rhs) == at_4096


@settings(deadline=None)
@given(
    bits=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    signed=st.tuples(st.booleans(), st.booleans()),
    length=st.integers(1, 300),
)
def test_worst_case_is_reached_and_one_bit_less_is_too_few(
    bits: tuple[int, int], signed: tuple[bool, bool], length: int
) -> None:
    formats = [IntFormat(b, s) for b, s in zip(bits, signed, strict=True)]
    products = [a * b for a in range(formats[0].lo, formats[0].hi + 1) for b in range(formats[1].lo, formats[1].hi + 1)]
    top, bottom = length * max(products), length * min(products)
    width = accumulator_bits(length, *formats)
    assert -(2 ** (width - 1)) <= bottom
    assert top <= 2 ** (width - 1) - 1
    assert width == 1 or bottom < -(2 ** (width - 2)) or top > 2 ** (width - 2) - 1


@settings(deadline=None)
@given(bits=st.integers(10, 40), length=st.integers(1, 10**6))
def test_safe_length_and_bits_are_inverse(bits: int, length: int) -> None:
    assert (accumulator_bits(length) <= bits) == (length <= safe_length(bits))


@settings(deadline=None)
@given(st.lists(st.integers(-8, 7), min_size=1, max_size=4), st.sampled_from(["int3", "u3", "int3_narrow"]))
def test_channel_bound_is_reached_by_some_operand_and_holds_for_every_partial_sum(weights: list[int], lhs: str) -> None:
    number = IntFormat.parse(lhs)
    width = int(channel_bits(np.array(weights)[:, None], lhs)[0])
    sums = set()
    for acts in itertools.product(range(number.lo, number.hi + 1), repeat=len(weights)):
        terms = [a * w for a, w in zip(acts, weights, strict=True)]
        for order in itertools.permutations(terms):
            sums |= set(itertools.accumulate(order))
    assert all(-(2 ** (width - 1)) <= total < 2 ** (width - 1) for total in sums)
    assert width == 1 or any(not -(2 ** (width - 2)) <= total < 2 ** (width - 2) for total in sums)


def test_bound_of_a_verdict_is_that_of_its_longest_partial_sum() -> None:
    sizes = {"m": 256, "k": 512, "n": 256}
    assert decide("mk,kn->mn", sizes=sizes).accumulator_bits == 25
    assert decide("mk,kn->mn", rhs="group:128", sizes=sizes).accumulator_bits == accumulator_bits(128) == 23
    assert decide("mk,kn->mn", sizes=sizes, lhs_format="u8", rhs_format="int4").accumulator_bits == 21
    assert decide("mk,kn->mn", rhs="codebook(int4)", sizes=sizes).accumulator_bits == 21


def test_padding_adds_no_products() -> None:
    """A corner of a padded image sums 4 of 9 taps; blocks of 4 pixels hold all 4 taps of some output."""
    sizes = {"b": 1, "c": 1, "w": 16, "o": 1, "s": 4}
    assert decide("conv1d", "w:4", sizes=sizes).accumulator.length == 4
    assert decide("conv1d", "w:3", sizes=sizes).accumulator.length == 3
    sizes = {"b": 1, "c": 1, "w": 2, "o": 1, "s": 9}
    found = decide("conv1d padding=8", sizes=sizes)
    assert (found.reduction_length, found.accumulator.length) == (9, 2)


def test_zero_points_widen_the_corrected_sum() -> None:
    sizes = {"m": 256, "k": 512, "n": 256}
    found = decide("mk,kn->mn", sizes=sizes, lhs_zero="1", rhs_zero="1").accumulator
    assert found.corrected_bits == 26, "(q - z) has 9 bits, +-255; 512 * 255**2 = 33,292,800 < 2**25"
    found = decide("mk,kn->mn", sizes=sizes, lhs_zero="1", rhs_format="int8_narrow").accumulator
    assert found.corrected_bits == 25


def test_outer_accumulators() -> None:
    sizes = {"m": 8, "k": 512, "n": 8}
    assert decide("mk,kn->mn", sizes=sizes).accumulator.outer == "none"
    found = decide("mk,kn->mn", "m:1 * m:1,k:16@int", sizes=sizes).accumulator
    assert (found.outer, found.outer_bits) == ("int", (512 * 128 * 128 * 255).bit_length() + 1)
    assert decide("mk,kn->mn", "mx:32", sizes=sizes).accumulator.outer == "fp32"
    found = decide("mk,kn->mn", "group:128", sizes={**sizes, "k": 4096}).accumulator
    assert (found.outer, found.exact_in_fp32) == ("fp32", True)
    assert not decide("mk,kn->mn", "group:2048", sizes={**sizes, "k": 4096}).accumulator.exact_in_fp32
