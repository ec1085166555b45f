"""Energy from toggles: counting, and the law over the simulated stimuli."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwsim.technology import toggles
from hwsim.technology.synthesis import ACTIVITIES, Library

LIBRARIES = ("nangate45", "asap7", "sky130hd")


def test_toggles_are_changed_bits_per_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products 0, 1, -1, 2 into sums 0, 1, 0, 2, by hand in 4 and 8 bits, with no clearing."""
    monkeypatch.setattr(toggles, "_CLEARED", 0.0)
    lhs, rhs = np.array([0, 1, -1, 2]), np.array([5, 1, 1, 1])
    found = toggles.toggles(lhs, rhs, 4, 8)
    # 0000 -> 0001: 1; 0001 -> 1111: 3; 1111 -> 0010: 3
    assert found.product == pytest.approx((1 + 3 + 3) / 3)
    # 0 -> 1: 1; 1 -> 0: 1; 0 -> 2: 1
    assert found.accumulator == pytest.approx(1.0)


def test_a_cleared_sum_starts_at_its_own_product() -> None:
    """Against a loop over every cycle with the same cleared cycles."""
    rng = np.random.default_rng(3)
    lhs, rhs = rng.integers(-8, 8, (2, 400))
    cleared = np.random.default_rng(toggles._SEED + 1).random(400) < toggles._CLEARED
    sums, total = [], 0
    for product, clear in zip((lhs * rhs).tolist(), cleared.tolist(), strict=True):
        total = product if clear else total + product
        sums.append(total % 256)
    expected = sum((a ^ b).bit_count() for a, b in itertools.pairwise(sums)) / 399
    assert cleared.any()
    assert toggles.toggles(lhs, rhs, 8, 8).accumulator == pytest.approx(expected, rel=1e-12)


def test_random_products_toggle_as_their_bits_are_set() -> None:
    """Independent cycles: bit j toggles with probability 2 p (1 - p); p over all pairs of 4 bits."""
    products = [(a * b) % 256 for a in range(-8, 8) for b in range(-8, 8)]
    shares = [sum(p >> j & 1 for p in products) / 256 for j in range(8)]
    expected = sum(2 * p * (1 - p) for p in shares)
    assert toggles.reference(4, 4, 24).product == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_law_meets_the_simulated_macs(name: str) -> None:
    rows = toggles.residuals(name)
    assert len(rows) == 5 * len(ACTIVITIES)
    for design, stimulus, simulated, law in rows:
        match stimulus:
            case "uniform":
                assert law == pytest.approx(1.0, abs=1e-12)
            case "held":
                assert -0.1 < law - simulated < 0.34, design
            case _:
                assert abs(law - simulated) < 0.16, (design, stimulus)
    rms = float(np.sqrt(np.mean([(law - simulated) ** 2 for _, _, simulated, law in rows])))
    assert rms < 0.11


PARTS = toggles.Parts(product_pj=3.0, whole_pj=8.0, adder_pj=6.0, sum_bits=32)
RANDOM = toggles.Toggles(10.0, 8.0)


def test_every_part_follows_its_own_toggles() -> None:
    """3 pJ of multiplier, 5 of sum: half the product and a quarter of the sum leave 1.5 + 1.25 of 8."""
    assert PARTS.activity(toggles.Toggles(5.0, 2.0), RANDOM) == pytest.approx((1.5 + 1.25) / 8, rel=1e-15)
    assert PARTS.activity(RANDOM, RANDOM) == 1.0
    assert PARTS.activity(toggles.Toggles(0.0, 0.0), RANDOM) == 0.0


def test_sums_that_pass_cost_what_their_own_toggles_do() -> None:
    """A sum that stays toggles 8 of 32 bits: 3 of 6 pJ, so that 5 of 8 are the product's. Passing, 16 do: 6 pJ."""
    passing = toggles.Toggles(5.0, 16.0)
    assert PARTS.passing_activity(passing, RANDOM, 1.0) == pytest.approx((5 * 0.5 + 6) / 8, rel=1e-15)
    assert PARTS.passing_activity(passing, RANDOM, 0.4) == pytest.approx((5 * 0.5 * 0.4 + 6) / 8, rel=1e-15)
    assert PARTS.passing_activity(toggles.Toggles(0.0, 4.0), RANDOM, 1.0) == pytest.approx(1.5 / 8, rel=1e-15)
    assert PARTS.passing_activity(RANDOM, RANDOM, 1.0) == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_held_operand_has_fewer_glitches(name: str) -> None:
    """By hand for one row: what it leaves beyond adder and register, over what its product's toggles say."""
    assert 0.5 < toggles.fading(name) < 1.0
    library = Library.load(name)
    found = []
    for random, held in zip(library.mac_samples(), library.mac_samples("held"), strict=True):
        a, b, c = (int(width) for width in held.widths)
        lhs, rhs = toggles.operands("held", (a, b))
        drawn, reference = toggles.toggles(lhs, rhs, a + b, c), toggles.reference(a, b, c)
        bit = library.law("register", "energy_pj")(1) - library.clock_pj_per_bit
        per_toggle = (library.law("adder", "energy_pj")(c) + c * bit) / (c / 2)
        product = (random.value - per_toggle * reference.accumulator) / reference.product
        found.append((held.value - per_toggle * drawn.accumulator) / (product * drawn.product))
    assert toggles.fading(name) == pytest.approx(sum(found) / 5, rel=1e-9)


def test_powers_of_two_have_their_own_reference() -> None:
    lhs, rhs = toggles.operands("uniform", (8, 6), "shift")
    assert set(np.abs(rhs).tolist()) == {0, 1, 2, 4, 8, 16, 32, 64}
    assert toggles.reference(8, 6, 32, "shift") != toggles.reference(8, 6, 32)
    assert abs(int(lhs.min())) == 128
    with pytest.raises(ValueError, match=r"^stimulus must be one of uniform, .*, not 'typical'$"):
        toggles.operands("typical", (8, 8))
