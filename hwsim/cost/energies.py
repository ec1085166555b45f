"""Energy of a plan: every action times its sourced energy, every bit times its memory's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.cost.elements import Element, Uses
from hwsim.cost.pipelines import Pipeline
from hwsim.cost.pricing import Band, energy_pj, price
from hwsim.plan import Component, Place
from hwsim.timing.numbers import plus

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator, Sram
    from hwsim.cost.areas import Area
    from hwsim.cost.pricing import Number
    from hwsim.plan import Plan
    from hwsim.technology import Cost, Technology
    from hwsim.timing import Timing
    from hwsim.timing.cycles import Traffic

PARTS = ("mac_pj", "pipeline_pj", "clock_pj", "vector_pj", "sram_pj", "dram_pj", "leakage_pj")


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one layer by where it goes; the parts sum to the total.

    Parameters
    ----------
    mac_pj
        Multiply-accumulates and the operand registers around them.
    pipeline_pj
        Registers that cut units for the clock, of the array and beside it, while they work.
    clock_pj
        Clock of registers in elements that have nothing to do while the array runs; a stalled array is gated.
    vector_pj
        Quantization, scans, sums for zero points, rescaling, requantization.
    sram_pj, dram_pj
        Buffers and off-chip memory.
    leakage_pj
        Leakage power times the layer's time.
    """

    mac_pj: Number
    pipeline_pj: Number
    clock_pj: Number
    vector_pj: Number
    sram_pj: Number
    dram_pj: Number
    leakage_pj: Number

    @property
    def total_pj(self) -> Number:
        """Sum of the parts."""
        return sum(getattr(self, part) for part in PARTS)

    def parts(self) -> dict[str, Number]:
        """Parts by name, in order of `PARTS`."""
        return {part: getattr(self, part) for part in PARTS}


@dataclass(frozen=True, slots=True)
class DataActivity:
    """How much the data move, relative to fresh random operands; the clock's part of an energy does not change.

    Parameters
    ----------
    mac
        Data-dependent energy of a multiply-accumulate unit.
    registers
        Data-dependent energy of the operand registers that take a value with each use.
    loads
        Data-dependent energy of the registers that values pass on their way to where they are held.
    """

    mac: Number = 1.0
    registers: Number = 1.0
    loads: Number = 1.0


RANDOM = DataActivity()

_FLIP_FLOP = Component("register", (1,))


def energy(
    plan: Plan,
    timing: Timing,
    accelerator: Accelerator,
    technology: Technology,
    built: Area,
    band: Band = "nominal",
    activity: DataActivity = RANDOM,
) -> Energy:
    """Energy of one layer.

    Parameters
    ----------
    built
        The machine, whose leakage runs for as long as the layer does.
    band
        Nominal prices, or the low or high edge of what the sources support.
    activity
        Of the array's operands: fresh random ones, or as counted on the actual integers.

    Raises
    ------
    PricingError
        If the technology lacks a component or its law does not reach the width.
    """
    vector: Number = 0.0
    mac, moved, clock = _array_pj(plan, timing, accelerator, technology, band, activity)
    for action in (action for step in plan.steps for action in step.actions):
        if action.place is not Place.ELEMENT:
            uses, unit = action.count * timing.repeats[action.per], price(technology, action.component)
            vector = vector + uses * energy_pj(unit, band)
            moved = plus(moved, Pipeline.of(unit, accelerator.cycle_ns, technology).bits, uses)
    memories = accelerator.memories
    return Energy(
        mac_pj=mac,
        pipeline_pj=moved * energy_pj(price(technology, _FLIP_FLOP), band),
        clock_pj=clock,
        vector_pj=vector,
        sram_pj=sum(
            _sram_pj(getattr(memories, name), traffic, technology, band) for name, traffic in timing.buffers.items()
        ),
        dram_pj=timing.dram.total_bits * getattr(technology.dram(memories.dram.type), band),
        # uW x ns = fJ
        leakage_pj=built.leakage_uw * timing.total_cycles * accelerator.cycle_ns * 1e-3,
    )


def _array_pj(
    plan: Plan, timing: Timing, accelerator: Accelerator, technology: Technology, band: Band, activity: DataActivity
) -> tuple[Number, Number, Number]:
    """Energy of the elements at work, bits of their pipeline registers, and energy of their clock while they wait.

    Pipeline bits are as many as take random data for the energy that they take with these.
    """
    array = accelerator.array
    element, uses = Element.of(plan.mac, array), Uses.of(plan, array, timing)
    unit, product = price(technology, element.unit), price(technology, element.product)
    moving = price(technology, Component("register", (element.moving_bits,)))
    passes = array.dataflow != "output_stationary"
    cuts = Pipeline.of(unit, accelerator.cycle_ns, technology, passes=passes)
    flip_flop = price(technology, _FLIP_FLOP)
    if activity is not RANDOM:
        unit, product = unit.at_activity(activity.mac), product.at_activity(activity.mac)
        moving = moving.at_activity(activity.registers)
    units, macs = uses.units + uses.channel_units, uses.macs + uses.channel_macs
    # A slice shorter than the unit leaves some of its multipliers at rest.
    mac = units * energy_pj(unit, band) - (units * element.depth - macs) * energy_pj(product, band)
    mac = mac + uses.units * energy_pj(moving, band)
    idle_pj = _clock_pj(flip_flop, band)
    if passes:
        held = price(technology, Component("register", (element.held_value_bits,)))
        mac = mac + uses.units * element.held_bits * idle_pj
        mac = mac + uses.loads * activity.loads * (energy_pj(held, band) - _clock_pj(held, band))
    if element.shifts_sums:
        hop = price(technology, Component("multiplexer", (element.sum_bits,)))
        # A finished sum passes half of the rows on its way out.
        mac = mac + plan.out.elements * timing.schedule.sum_writes * (array.rows + 1) / 2 * energy_pj(hop, band)
    # Sums that took turns are added up at the end.
    joined = plan.out.elements * timing.schedule.sum_writes
    mac = plus(mac, cuts.turns - 1, joined * energy_pj(price(technology, element.adder), band))
    moved = cuts.bits * units * (flip_flop.at_activity(activity.mac).energy_pj / flip_flop.energy_pj)
    moved = plus(moved, cuts.waiting_bits, joined)
    idle = timing.compute_cycles * (accelerator.elements / element.depth) - units
    return mac, moved, idle * (element.register_bits + cuts.bits) * idle_pj


def _clock_pj(register: Cost, band: Band) -> Number:
    """Clock pins of a register; their band is that of the whole."""
    return register.idle_pj * energy_pj(register, band) / register.energy_pj


def _sram_pj(memory: Sram, traffic: Traffic, technology: Technology, band: Band) -> Number:
    bank = technology.sram(memory.capacity_bytes, memory.bank_width_bits, memory.banks)
    prefix = "" if band == "nominal" else f"{band}_"
    read_pj, write_pj = getattr(bank, f"{prefix}read_pj"), getattr(bank, f"{prefix}write_pj")
    return (traffic.read_bits * read_pj + traffic.write_bits * write_pj) / memory.bank_width_bits
