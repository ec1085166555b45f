"""Energy of a plan: every action times its sourced energy, every bit times its memory's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.plan import Place

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator, Sram
    from hwsim.cost.area import Area
    from hwsim.plan import Plan
    from hwsim.technology import Technology
    from hwsim.timing import Timing
    from hwsim.timing.closed_form import Traffic
    from hwsim.timing.schedule import Number

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


def energy(plan: Plan, timing: Timing, accelerator: Accelerator, technology: Technology, built: Area) -> Energy:
    """Energy of one layer.

    Parameters
    ----------
    built
        The machine, whose leakage runs for as long as the layer does.

    Raises
    ------
    ValueError
        If the technology lacks a component or its law does not reach the width.
    """
    mac = vector = 0.0
    for action in (action for step in plan.steps for action in step.actions):
        spent = action.count * timing.repeats[action.per] * technology.price(action.component).energy_pj
        if action.place is Place.ELEMENT:
            mac = mac + spent
        else:
            vector = vector + spent
    array = accelerator.array
    elements = array.rows * array.columns * array.dot_depth
    idle = timing.compute_cycles * elements - plan.mac.macs
    buffers = timing.buffers.items()
    return Energy(
        mac_pj=mac,
        clock_pj=idle * technology.register(plan.mac.register_bits).idle_pj,
        vector_pj=vector,
        sram_pj=sum(_sram_pj(getattr(accelerator.memories, name), bits, technology) for name, bits in buffers),
        dram_pj=timing.dram.total_bits * technology.dram(accelerator.memories.dram.type).energy_pj_per_bit,
        # uW x ns = fJ
        leakage_pj=built.leakage_uw * timing.total_cycles * accelerator.cycle_ns * 1e-3,
    )


def _sram_pj(memory: Sram, traffic: Traffic, technology: Technology) -> Number:
    bank = technology.sram(memory.capacity_bytes // memory.banks, memory.bank_width_bits)
    spent = traffic.read_bits * bank.read_pj + traffic.write_bits * bank.write_pj
    return spent / memory.bank_width_bits
