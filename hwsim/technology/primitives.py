"""Component models that rest directly on a fitted law: one kind of synthesised design each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .calibration import Calibration, _row_format
from .columns import cached
from .cost import Cost, Number, _plain
from .errors import MissingConstantError, checked_widths
from .nodes import Node
from .stillmaker import IDENTITY, Scaling
from .synthesis import Library

# Stated limits of each width. The rows reach 2..32 for multipliers, 8..32 for adders, shifters and comparators;
# beyond them the laws go on by structure (regular arrays and carry chains).
LIMITS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "multiplier": {"a_bits": (2, 64), "b_bits": (2, 64)},
    "adder": {"bits": (4, 128)},
    "register": {"bits": (1, 4096)},
    "comparator": {"bits": (4, 64)},
    "maximum": {"bits": (4, 64)},
    "shifter": {"bits": (4, 128), "positions": (2, 128)},
    "lfsr": {"bits": (4, 64)},
    "int_to_float": {"bits": (4, 64)},
    "float_to_int": {"bits": (2, 32)},
}
FORMAT_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "fp8_e4m3": 8}
SIGNIFICAND_BITS = {"fp32": 24, "fp16": 11, "bf16": 8, "fp8_e4m3": 4}


def float_format(value: Any) -> str:
    """Return the name of a float format given by name or as an object with a name.

    Raises
    ------
    ValueError
        If the technology has no unit for it.
    """
    name = str(getattr(value, "name", value)).lower()
    if name not in FORMAT_BITS:
        raise ValueError(f"float format must be one of {', '.join(FORMAT_BITS)}, not {name!r}")
    return name


def exponent_bits(name: str) -> int:
    """Return the exponent's width of a float format: all but the sign and the stored part of the significand."""
    return FORMAT_BITS[name] - SIGNIFICAND_BITS[name]


class Primitives:
    """Laws of one node, calibrated and scaled."""

    def __init__(self, node: Node, scaling: Scaling = IDENTITY) -> None:
        self.node = node
        self.scaling = scaling
        self.library = Library.load(node.library)
        self.calibration = Calibration(node, self.library)
        self._cache: dict[Any, Any] = {}

    # ---- integer units ----

    @cached
    def multiplier(self, a_bits: Number, b_bits: Number) -> Cost:
        """Return the cost of a signed array multiplier.

        Parameters
        ----------
        a_bits, b_bits : 2..64 bits
            Operand widths, scalars or arrays. An unsigned 8-bit operand counts as 9 signed bits.

        Returns
        -------
        cost
            Energy with both operands fresh random; the high band covers the synthesis tool's default arithmetic.
        """
        a = checked_widths("a_bits", a_bits, *LIMITS["multiplier"]["a_bits"])
        b = checked_widths("b_bits", b_bits, *LIMITS["multiplier"]["b_bits"])
        # Between two rows of the array: sum and carry of the narrower operand's width, that operand, and of the wider
        # one as many bits still to come as bits of the product are done.
        cut = 3.0 * np.minimum(a, b) + np.maximum(a, b)
        cost = self._unit("multiplier", (a, b), size=a * b, variant="array", cut_bits=_plain(cut))
        wide = self.library.law("multiplier", "area_um2")(a, b) * self.scaling.area
        cost = cost.replace(high_um2=_plain(np.maximum(cost.high_um2, wide)))
        if self.node.synthesised:
            plain = self.library.law("multiplier", "energy_pj")(a, b) * self.scaling.energy
            cost = cost.replace(high_pj=_plain(np.maximum(cost.high_pj, plain * self.scaling.high)))
        return cost

    @cached
    def adder(self, bits: Number) -> Cost:
        """Return the cost of an adder of `bits` (4..128)."""
        n = checked_widths("bits", bits, *LIMITS["adder"]["bits"])
        # Half of the sum, and the other half of both operands.
        return self._unit("adder", (n,), size=n, cut_bits=1.5 * n)

    @cached
    def register(self, bits: Number) -> Cost:
        """Return the cost of flip-flops.

        Parameters
        ----------
        bits : 1..4096
            Number of flip-flops.

        Returns
        -------
        cost
            Energy of a clocked cycle with fresh random data; `idle_pj` is the clock pins alone.
        """
        n = checked_widths("bits", bits, *LIMITS["register"]["bits"])
        cost = self._unit("register", (n,), size=1.0, cut_bits=1.0 * n)
        return cost.replace(idle_pj=cost.energy_pj * self._clock_share)

    @cached
    def comparator(self, bits: Number) -> Cost:
        """Return the cost of a comparator (less than) of `bits` (4..64)."""
        n = checked_widths("bits", bits, *LIMITS["comparator"]["bits"])
        return self._unit("comparator", (n,), kind_of_ratio="comparator", cut_bits=1.0 * n)

    @cached
    def maximum(self, bits: Number) -> Cost:
        """Return the cost of a unit that passes the larger of two values of `bits` (4..64)."""
        n = checked_widths("bits", bits, *LIMITS["maximum"]["bits"])
        # Both values are there until the last bit decides.
        return self._unit("maximum", (n,), kind_of_ratio="comparator", cut_bits=2.0 * n)

    @cached
    def shifter(self, bits: Number, positions: Number) -> Cost:
        """Return the cost of a barrel shifter of `bits` (4..128) with `positions` (2..128) shift amounts."""
        n = checked_widths("bits", bits, *LIMITS["shifter"]["bits"])
        p = checked_widths("positions", positions, *LIMITS["shifter"]["positions"])
        return self._unit("shifter", (n, p), cut_bits=_plain(n + np.log2(p)))

    @cached
    def rounding_shift(self, bits: Number) -> Cost:
        """Return the cost of a rounding right shift by any amount, zero-point add and saturation to 8 bits.

        One synthesised row (32 bits) carries it to other widths as bits x log2(bits), the law of barrel shifters.
        """
        n = checked_widths("bits", bits, *LIMITS["shifter"]["bits"])
        return self._unit("rounding_shift", (n, n), cut_bits=_plain(n + np.log2(n)))

    @cached
    def lfsr(self, bits: Number) -> Cost:
        """Return the cost of a linear feedback shift register of `bits` (4..64), one step a cycle."""
        n = checked_widths("bits", bits, *LIMITS["lfsr"]["bits"])
        cost = self._unit("lfsr", (n,), cut_bits=1.0 * n).in_a_loop()
        return cost.replace(idle_pj=self.register(bits).idle_pj)

    # ---- float units ----

    @cached
    def float_add(self, fmt: Any) -> Cost:
        """Return the cost of a float adder: ``fp32``, ``fp16`` or ``bf16``; unpipelined, flush to zero."""
        name = float_format(fmt)
        # Both significands with guard, round and sticky bits, exponent, sign, whether to subtract (designs.v, fadd).
        significand = SIGNIFICAND_BITS[name]
        return self._float("float_add", name, 2.0 * (significand + 3) + exponent_bits(name) + 2)

    @cached
    def float_mul(self, fmt: Any) -> Cost:
        """Return the cost of a float multiplier: ``fp32``, ``fp16``, ``bf16`` or ``fp8_e4m3``; unpipelined."""
        name = float_format(fmt)
        # The significands' multiplier, exponent with its carry, and sign (designs.v, fmul).
        return self._float("float_mul", name, 4.0 * SIGNIFICAND_BITS[name] + exponent_bits(name) + 2)

    @cached
    def int_to_float(self, bits: Number) -> Cost:
        """Return the cost of a conversion of `bits` (4..64) signed integers to fp32, round to nearest even."""
        n = checked_widths("bits", bits, *LIMITS["int_to_float"]["bits"])
        # Magnitude, place of its leading one, sign.
        return self._unit("int_to_float", (n,), kind_of_ratio="converter", cut_bits=_plain(n + np.log2(n) + 1))

    @cached
    def float_to_int(self, fmt: Any, bits: Number) -> Cost:
        """Return the cost of rounding a float to a saturated integer of `bits` (2..32).

        One synthesised row (fp32 to int8), carried to other widths by significand plus integer bits, the width of the
        aligning shifter.
        """
        n = checked_widths("bits", bits, *LIMITS["float_to_int"]["bits"])
        cost = self._unit("float_to_int", (), kind_of_ratio="converter")
        share = (SIGNIFICAND_BITS[float_format(fmt)] + n) / (SIGNIFICAND_BITS["fp32"] + 8)
        return cost.times(share).replace(cut_bits=float(FORMAT_BITS[float_format(fmt)]))

    # ---- shared ----

    @property
    def _clock_share(self) -> float:
        return self.library.clock_pj_per_bit / float(self.library.law("register", "energy_pj")(1))

    @property
    def _mux_pj_per_um2(self) -> float:
        """Energy of multiplexer logic per area, uncalibrated: the barrel shifter under random data and amounts."""
        energy = self.library.law("shifter", "energy_pj")
        return float(energy(32, 32)) / float(self.library.law("shifter", "area_um2")(32, 32))

    def _float(self, kind: str, name: str, cut_bits: Number) -> Cost:
        row = f"{kind}:{_row_format(name)}"
        return self._unit(row, (), kind_of_ratio=kind, fmt=name, cut_bits=cut_bits)

    def _unit(
        self,
        kind: str,
        widths: tuple[Any, ...],
        *,
        size: Number = 1.0,
        variant: Any = "default",
        kind_of_ratio: str | None = None,
        fmt: str = "",
        cut_bits: Number = 0.0,
    ) -> Cost:
        """Evaluate the laws of a kind, with the node's ratios and scaling."""
        library = self.library
        area = library.law(kind, "area_um2", variant)(*widths)
        rows = kind
        if kind == "lfsr" and not library.samples(kind, "energy_pj"):
            rows = "register"  # random bits in flip-flops; the few feedback gates are left out
        energy = library.law(rows, "energy_pj", variant)(*widths)
        delay = library.law(rows, "delay_ns", variant)(*widths)
        share = library.no_wire_share(rows, variant) if self.node.synthesised else 1.0
        cost = self.priced(kind_of_ratio or kind, area, energy, delay, size=size, fmt=fmt, no_wire=share)
        return cost.replace(cut_bits=cut_bits)

    def priced(
        self,
        kind: str,
        area: Number,
        energy: Number,
        delay: Number | None,
        *,
        size: Number = 1.0,
        fmt: str = "",
        no_wire: float = 1.0,
    ) -> Cost:
        """Turn a synthesised area and energy into a cost at this node by the ratios of `kind`."""
        node, scaling = self.node, self.scaling
        by_energy = self.calibration.factor(kind, "energy", size=size, fmt=fmt)
        by_area = self.calibration.factor(kind, "area", size=size, fmt=fmt)
        if node.leakage_uw_per_um2 is None:
            raise MissingConstantError(f"{node.name} has no leakage_uw_per_um2")
        own = area * by_area.value
        nominal = energy * by_energy.value * scaling.energy
        # Nominal carries the estimated wire load once; low without it, high with it twice.
        low, high = no_wire, 2.0 - no_wire
        # Published and synthesised areas of the same node are two sources; the band holds both.
        smaller, larger = np.minimum(own * by_area.low, area), np.maximum(own * by_area.high, area)
        basis = (self._basis(kind), by_energy.basis, by_area.basis, scaling.warning)
        return Cost(
            area_um2=own * scaling.area,
            energy_pj=nominal,
            leakage_uw=own * scaling.area * node.leakage_uw_per_um2.nominal,
            delay_ns=None if delay is None else delay * scaling.delay,
            gate_equivalents=own / self.library.nand2_um2,
            low_pj=nominal * (low * by_energy.low * node.band.low * scaling.low),
            high_pj=nominal * (high * by_energy.high * node.band.high * scaling.high),
            idle_pj=nominal * 0.0,
            low_um2=_plain(smaller * scaling.area),
            high_um2=_plain(larger * scaling.area),
            basis=tuple(b for b in basis if b),
        )

    def _basis(self, kind: str) -> str:
        return f"{kind}: law over {self.library.title}"
