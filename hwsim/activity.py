"""Energy of the array by the integers that it multiplies: toggles counted on the evaluation inputs.

By default every product costs what fresh random operands cost. Real operands move less: activations are small or
zero, weights repeat. `measure` counts the toggles of operand registers, products and sums on a few tiles of the actual
integers, and `hwsim.technology.toggles` turns them into energy, each part and each register by its own: where an
operand is held, the other one, the product and the sum that passes; and what is held while it is loaded.

Limits: float and look-up units keep the default, as nobody simulated them with other operands; an element of depth
above 1 is counted as if its products came one after another; buffers, DRAM and vector unit keep the default; control
of idle multiplexers is not there. Glitches follow the toggles, which for one operand held still overstates narrow
multipliers (docs/technology.md has the residuals).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.cost import DataActivity, energy
from hwsim.cost.elements import Element
from hwsim.cost.pricing import BANDS, price
from hwsim.datapath import measure_activity
from hwsim.execution import array_operands, prepare
from hwsim.plan import Component
from hwsim.technology import toggles
from quant import IntFormat

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.numerics import Recording
    from hwsim.plan import Plan
    from hwsim.results import LayerResult, Result
    from hwsim.technology import Technology
    from quant import Format

# Tiles of the array in each direction that are counted, evenly spread, and matrices of a batch.
_TILES = 3
_MATRICES = 2


@dataclass(frozen=True, slots=True)
class LayerActivity:
    """What was counted on one layer.

    Parameters
    ----------
    counted_share
        Products that were counted, over all.
    zero_share
        Products with a zero operand among them.
    data
        Energy that depends on data, relative to fresh random operands and a sum that stays.
    """

    counted_share: float
    zero_share: float
    data: DataActivity


def measure(
    plan: Plan, lhs: npt.NDArray[Any], rhs: npt.NDArray[Any], accelerator: Accelerator, technology: Technology
) -> LayerActivity:
    """Count toggles of one integer layer on some tiles of its operands.

    Parameters
    ----------
    lhs : int [batch, m, k]
    rhs : int [batch, k, n]

    Raises
    ------
    ValueError
        If the plan's unit has no law of energy over toggles.
    """
    mac, array = plan.mac, accelerator.array
    if mac.unit not in {"multiply", "shift"}:
        msg = f"unit must be multiply or shift to count toggles, not {mac.unit}"
        raise ValueError(msg)
    shifts = mac.unit == "shift"
    a_bits, b_bits = _bits(plan)
    # A shift unit's register holds a code; the integer that it stands for is as wide as the largest power of two.
    forms = [mac.lhs, IntFormat(b_bits + 2) if shifts else mac.rhs]
    first, second = (lhs, rhs)
    if array.dataflow == "input_stationary":  # the same array with the sides swapped
        first, second, forms = rhs.swapaxes(-1, -2), lhs.swapaxes(-1, -2), forms[::-1]
    holds = array.dataflow != "output_stationary"
    counts, loaded, pairs = np.zeros(6), 0, 0
    for b in _spread(len(first), _MATRICES):
        x, y = _tiles(first[b], second[b], array.rows, array.columns, holds=holds)
        flips, passed = _passing_toggles(y, _register_bits(plan, array.dataflow)[1])
        loaded, pairs = loaded + flips, pairs + passed
        found = measure_activity(
            x,
            y,
            rows=array.rows,
            columns=array.columns,
            dataflow="weight_stationary" if holds else "output_stationary",
            lhs_format=_integer(forms[0]),
            rhs_format=_integer(forms[1]),
            accumulator_bits=mac.accumulator_bits,
        )
        counts += [
            found.macs,
            found.zero_macs,
            found.lhs_toggles,
            found.rhs_toggles,
            found.product_toggles,
            found.accumulator_toggles,
        ]
    macs, zeros, x_toggles, y_toggles, product, total = counts
    random = toggles.reference(a_bits, b_bits, mac.accumulator_bits, "shift" if shifts else "multiply")
    counted = toggles.Toggles(product / macs, total / macs)
    parts = _parts(plan, accelerator, technology)
    share = parts.activity(counted, random)
    if holds:
        share = parts.passing_activity(counted, random, toggles.fading(technology.library.name))
    # Half of the bits of a fresh random register toggle, and a code of shifts is taken so.
    first_half, second_half = (bits / 2 for bits in _register_bits(plan, array.dataflow))
    swapped = array.dataflow == "input_stationary"
    moved, of = first_half if shifts and swapped else x_toggles / macs, first_half
    if not holds:
        moved, of = moved + (second_half if shifts else y_toggles / macs), of + second_half
    loads = loaded / pairs / second_half if pairs and not (shifts and not swapped) else 1.0
    data = DataActivity(float(share), float(moved / of), float(loads))
    return LayerActivity(float(macs / mac.macs), float(zeros / macs), data)


def _parts(plan: Plan, accelerator: Accelerator, technology: Technology) -> toggles.Parts:
    """Energy of the unit that depends on data, of one product at a time, as the technology prices it."""
    mac = plan.mac
    unit = price(technology, mac.component)
    product = price(technology, Element.of(mac, accelerator.array).product)
    adder, register = (price(technology, Component(kind, (mac.accumulator_bits,))) for kind in ("adder", "register"))
    return toggles.Parts(
        product_pj=float(product.energy_pj),
        whole_pj=float(unit.energy_pj - unit.idle_pj),
        adder_pj=float(adder.energy_pj + register.energy_pj - register.idle_pj),
        sum_bits=mac.accumulator_bits,
    )


def _passing_toggles(held: npt.NDArray[Any], bits: int) -> tuple[int, int]:
    """Toggles of a register that the held values of a column pass one after the other, and how often it takes one.

    Parameters
    ----------
    held : int [k, n]
        Values of each column in the order of the reduction.
    """
    changed = (held[1:].astype(np.int64) ^ held[:-1]) & ((1 << bits) - 1)
    return int(np.bitwise_count(changed).sum()), changed.size


def _bits(plan: Plan) -> tuple[int, int]:
    """Widths of the multiplier, or of the shifted value and the largest shift."""
    a, b = plan.mac.component.arguments[:2]
    return int(a), int(b)


def _register_bits(plan: Plan, dataflow: str) -> tuple[int, int]:
    """Bits of both operands, the one that always moves first."""
    lhs, rhs = plan.mac.operand_bits
    return (rhs, lhs) if dataflow == "input_stationary" else (lhs, rhs)


def _integer(form: Format) -> IntFormat:
    if not isinstance(form, IntFormat):
        msg = f"operands must be integers to count toggles, not {form}"
        raise TypeError(msg)
    return form


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many of `count` indices, evenly spread, the first among them."""
    return list(dict.fromkeys(int(i) for i in np.linspace(0, count - 1, min(count, most))))


def _tiles(
    lhs: npt.NDArray[Any], rhs: npt.NDArray[Any], rows: int, columns: int, *, holds: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Cut some tiles out of both operands; what streams past an element stays whole."""

    def chosen(length: int, step: int) -> npt.NDArray[np.int64]:
        starts = [tile * step for tile in _spread(-(-length // step), _TILES)]
        return np.concatenate([np.arange(start, min(start + step, length)) for start in starts])

    wide = chosen(rhs.shape[1], columns)
    if holds:
        deep = chosen(lhs.shape[1], rows)
        return lhs[:, deep], rhs[np.ix_(deep, wide)]
    return lhs[chosen(lhs.shape[0], rows)], rhs[:, wide]


def activities(result: Result, recording: Recording) -> dict[str, LayerActivity]:
    """Count the toggles of every integer layer of a result on the evaluation inputs.

    Returns
    -------
    activities
        By layer; float and look-up layers are not among them.
    """
    found = {}
    for layer in result.layers:
        plan = layer.plan
        if layer.call or plan.mac.unit not in {"multiply", "shift"}:
            continue
        prepared = prepare(plan, recording.samples(plan.layer, calibration=True), recording.bias(plan.layer))
        evaluation = recording.samples(plan.layer, calibration=False)
        lhs, rhs = array_operands(prepared, evaluation.lhs, evaluation.rhs, result.accelerator)
        found[plan.layer.name] = measure(plan, lhs, rhs, result.accelerator, result.technology)
    return found


def with_activities(result: Result, measured: dict[str, LayerActivity]) -> Result:
    """Price the layers of a result again with the toggles that were counted; times and areas stay."""
    layers = tuple(
        _priced(layer, result, measured[layer.plan.layer.name].data) if layer.plan.layer.name in measured else layer
        for layer in result.layers
    )
    return replace(result, layers=layers)


def _priced(layer: LayerResult, result: Result, data: DataActivity) -> LayerResult:
    low, nominal, high = (
        energy(layer.plan, layer.timing, result.accelerator, result.technology, result.built, band, data)
        for band in BANDS
    )
    return replace(layer, low=low, energy=nominal, high=high)
