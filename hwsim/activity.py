"""Energy of the array by the integers that it multiplies: toggles counted on the evaluation inputs.

By default every product costs what fresh random operands cost. Real operands move less: activations are small or
zero, weights repeat. `measure` counts the toggles of operand registers, products and sums on a few tiles of the actual
integers, and `hwsim.technology.toggles` turns them into energy.

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
from hwsim.cost.pricing import BANDS
from hwsim.datapath import measure_activity
from hwsim.execution import array_operands, prepare
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
        Energy that depends on data, relative to fresh random operands.
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
    counts = np.zeros(6)
    for b in _spread(len(first), _MATRICES):
        x, y = _tiles(first[b], second[b], array.rows, array.columns, holds=holds)
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
    share = toggles.data_activity(technology.library.name, counted, random, held=holds)
    # Half of the bits of a fresh random register toggle, and a code of shifts is taken so. An operand that is held
    # moves when it is loaded, which is priced as random.
    first_half, second_half = (bits / 2 for bits in _register_bits(plan, array.dataflow))
    swapped = array.dataflow == "input_stationary"
    moved, of = first_half if shifts and swapped else x_toggles / macs, first_half
    if not holds:
        moved, of = moved + (second_half if shifts else y_toggles / macs), of + second_half
    registers = moved / of
    return LayerActivity(float(macs / mac.macs), float(zeros / macs), DataActivity(float(share), float(registers)))


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
