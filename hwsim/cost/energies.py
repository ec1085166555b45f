"""Energy of a plan: every action times its sourced energy, every bit times its memory's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.cost.pricing import Band, energy_pj, price
from hwsim.plan import Component, Place

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator, Sram
    from hwsim.cost.areas import Area
    from hwsim.plan import Plan
    from hwsim.technology import Technology
    from hwsim.timing import Timing
    from hwsim.timing.cycles import Traffic
    from hwsim.timing.tiling import Number

PARTS = ("mac_pj", "clock_pj", "vector_pj", "sram_pj", "dram_pj", "leakage_pj")


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one layer by where it goes; the parts sum to the total.

    Parameters
    ----------
    mac_pj
        Multiply-accumulates and the operand registers that shift with them.
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


def energy(
    plan: Plan,
    timing: Timing,
    accelerator: Accelerator,
    technology: Technology,
    built: Area,
    band: Band = "nominal",
) -> Energy:
    """Energy of one layer.

    Parameters
    ----------
    built
        The machine, whose leakage runs for as long as the layer does.
    band
        Nominal prices, or the low or high edge of what the sources support.

    Raises
    ------
    ValueError
        If the technology lacks a component or its law does not reach the width.
    """
    mac = vector = 0.0
    busy = 0  # elements times cycles with a product to add, those of an extra channel included
    for action in (action for step in plan.steps for action in step.actions):
        spent = action.count * timing.repeats[action.per] * energy_pj(price(technology, action.component), band)
        if action.place is Place.ELEMENT:
            mac = mac + spent
            busy += action.count if action.component == plan.mac.component else 0
        else:
            vector = vector + spent
    idle = timing.compute_cycles * accelerator.elements - busy
    register = price(technology, Component("register", (plan.mac.register_bits,)))
    # The clock's share of a register is known; its band is that of the whole.
    idle_pj = register.idle_pj * energy_pj(register, band) / register.energy_pj
    memories = accelerator.memories
    return Energy(
        mac_pj=mac,
        clock_pj=idle * idle_pj,
        vector_pj=vector,
        sram_pj=sum(
            _sram_pj(getattr(memories, name), traffic, technology, band) for name, traffic in timing.buffers.items()
        ),
        dram_pj=timing.dram.total_bits * getattr(technology.dram(memories.dram.type), band),
        # uW x ns = fJ
        leakage_pj=built.leakage_uw * timing.total_cycles * accelerator.cycle_ns * 1e-3,
    )


def _sram_pj(memory: Sram, traffic: Traffic, technology: Technology, band: Band) -> Number:
    bank = technology.sram(memory.capacity_bytes, memory.bank_width_bits, memory.banks)
    prefix = "" if band == "nominal" else f"{band}_"
    read_pj, write_pj = getattr(bank, f"{prefix}read_pj"), getattr(bank, f"{prefix}write_pj")
    return (traffic.read_bits * read_pj + traffic.write_bits * write_pj) / memory.bank_width_bits
