"""Energy from toggles: counting, and the law over the simulated stimuli."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwsim.technology import toggles
from hwsim.technology.synthesis import ACTIVITIES

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
    assert 0 <= toggles.product_weight(name) <= 1
    for design, stimulus, simulated, law in rows:
        match stimulus:
            case "uniform":
                assert law == pytest.approx(1.0, abs=1e-12)
            case "held":
                assert -0.1 < law - simulated < 0.33, design
            case _:
                assert abs(law - simulated) < 0.16, (design, stimulus)
    rms = float(np.sqrt(np.mean([(law - simulated) ** 2 for _, _, simulated, law in rows])))
    assert rms < 0.11


@pytest.mark.parametrize("name", LIBRARIES)
def test_energy_of_counted_toggles_is_that_law(name: str) -> None:
    """Half-zero activations and a held operand on the 8 x 8 MAC into 32 bits."""
    rows = {(design, stimulus): (simulated, law) for design, stimulus, simulated, law in toggles.residuals(name)}
    random = toggles.reference(8, 8, 32)
    drawn = {s: toggles.operands(s, (8, 8)) for s in ("gaussian", "relu", "held")}
    counted = {s: toggles.toggles(lhs, rhs, 16, 32) for s, (lhs, rhs) in drawn.items()}
    for stimulus in ("gaussian", "relu"):
        got = toggles.data_activity(name, counted[stimulus], random)
        assert got == pytest.approx(rows["bwmac8x8_32", stimulus][1], rel=1e-12)
    held = toggles.data_activity(name, counted["held"], random, held=True)
    assert held == pytest.approx(rows["bwmac8x8_32", "held"][0], abs=0.2)
    assert held == pytest.approx(toggles.held_slope(name) * counted["held"].product / random.product, rel=1e-12)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("held", [False, True])
def test_more_toggles_never_cost_less(name: str, held: bool) -> None:
    random = toggles.reference(8, 8, 32)
    grid = np.linspace(0, 10, 11)
    costs = np.array(
        [[toggles.data_activity(name, toggles.Toggles(p, s), random, held=held) for s in grid] for p in grid]
    )
    assert (np.diff(costs, axis=0) >= 0).all()
    assert (np.diff(costs, axis=1) >= 0).all()
    assert costs[0, 0] == 0
    if not held:
        assert toggles.data_activity(name, random, random) == pytest.approx(1.0, rel=1e-12)


def test_powers_of_two_have_their_own_reference() -> None:
    lhs, rhs = toggles.operands("uniform", (8, 6), "shift")
    assert set(np.abs(rhs).tolist()) == {0, 1, 2, 4, 8, 16, 32, 64}
    assert toggles.reference(8, 6, 32, "shift") != toggles.reference(8, 6, 32)
    assert abs(int(lhs.min())) == 128
    with pytest.raises(ValueError, match=r"^stimulus must be one of uniform, .*, not 'typical'$"):
        toggles.operands("typical", (8, 8))
