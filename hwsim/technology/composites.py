"""Components composed of primitives: accumulators, MACs, requantizers, frontends, codebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from .columns import cached
from .cost import Cost, Number, _plain
from .errors import checked_widths
from .primitives import FORMAT_BITS, Primitives, float_format

OPERAND_BITS = (2, 16)
ACCUMULATOR_BITS = (8, 64)
MULTIPLIER_BITS = (8, 32)
CODEBOOK_LIMITS: Mapping[str, tuple[int, int]] = {"entries": (2, 1024), "width_bits": (2, 64)}


class Composites(Primitives):
    """Component models built of the primitive ones; areas add exactly."""

    @cached
    def accumulator(self, bits: Number, saturate: bool = False) -> Cost:
        """Return the cost of an adder with its register, fresh random addends of full width each cycle.

        Parameters
        ----------
        bits : 8..64
            Width.
        saturate
            Add one 2:1 multiplexer a bit for clamping, priced as one stage of the barrel shifter.
        """
        n = checked_widths("bits", bits, *ACCUMULATOR_BITS)
        cost = self.adder(n).then(self.register(n))
        return cost + self._clamp(n) if saturate else cost

    @cached
    def integer_mac(
        self,
        lhs_bits: Number,
        rhs_bits: Number,
        accumulator_bits: Number,
        saturate: bool = False,
        activity: str = "uniform",
    ) -> Cost:
        """Return the cost of a multiply-accumulate: array multiplier, adder, accumulator register with clear.

        Parameters
        ----------
        lhs_bits, rhs_bits : 2..16
            Signed operand widths; subtracting a zero point makes 8 bits 9.
        accumulator_bits : 8..64
            Width of the adder and the register.
        saturate
            Clamp instead of wrapping round.
        activity
            ``uniform`` (fresh random operands, the default), ``gaussian``, ``relu`` (half of the activations zero),
            ``held`` (one operand held) or ``zero`` (clock only).

        Returns
        -------
        cost
            Area is the sum of multiplier, adder and register. Energy of adder and register follows the simulated MACs,
            whose upper accumulator bits move little, and not the sum at full activity.
        """
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        b = checked_widths("rhs_bits", rhs_bits, *OPERAND_BITS)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        product = self.multiplier(a, b)
        cost = product.then(self._accumulation(a, b, c))
        if saturate:
            cost = cost.then(self._clamp(c))
        if activity == "uniform":
            return cost
        low, mean, high = self.library.activity(activity)
        at = cost.at_activity(mean)
        return at.replace(
            low_pj=cost.at_activity(low).low_pj,
            high_pj=cost.at_activity(high).high_pj,
            basis=(*cost.basis, f"activity {activity}: {mean:.3f} of random operands ({low:.3f} to {high:.3f})"),
        )

    def zero_activity(self, zero_share: Number) -> Number:
        """Return data-dependent MAC energy by the share of products with a zero operand, relative to random operands.

        Parameters
        ----------
        zero_share : 0..1
            Share of multiply-accumulates in which an operand is zero, counted on actual integers.

        Returns
        -------
        share
            For `Cost.at_activity`: a chain of lines through the simulated gaussian operands (0), the half-zero
            activations (1/2) and a zero operand (1).
        """
        low, high = np.min(zero_share), np.max(zero_share)
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"zero_share must be in 0..1, not {low if not low >= 0.0 else high}")
        ends = [self.library.activity(name)[1] for name in ("gaussian", "relu", "zero")]
        return _plain(np.interp(zero_share, [0.0, 0.5, 1.0], ends))

    def _accumulation(self, a: Number, b: Number, c: Number) -> Cost:
        """Adder and register of an array MAC: areas as they are, energy as the simulated MACs leave to them."""
        adder, register = self.adder(c), self.register(c)
        law = self.library.law
        clock = self.library.clock_pj_per_bit * c
        moved_add = law("adder", "energy_pj")(c)
        moved_register = law("register", "energy_pj")(c) - clock
        rest = self.library.mac_law(a, b, c) - law("multiplier", "energy_pj", "array")(a, b)
        # A law's remainder below nothing would make the MAC cheaper than its multiplier.
        share = _plain(np.maximum(rest, 0.0) / (moved_add + moved_register))
        return adder.at_activity(share).then(register.at_activity(share))

    @cached
    def shift_mac(self, lhs_bits: Number, max_shift: Number, accumulator_bits: Number, saturate: bool = False) -> Cost:
        """Return the cost of a MAC whose weight is a signed power of two: shifter, negation, adder, register.

        Parameters
        ----------
        lhs_bits : 2..16
            Activation width.
        max_shift : 1..15
            Largest exponent; weights are 0 and plus or minus 1 to 2**max_shift.
        accumulator_bits : 8..64
            Width of the adder and the register.
        saturate
            Clamp instead of wrapping round.

        Notes
        -----
        The shift unit's area follows one synthesised row (8 bits, exponents of 3 bits); its energy is that area at
        the energy density of the barrel shifter, the same kind of logic.
        """
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        s = checked_widths("max_shift", max_shift, 1, 15)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        area = self.library.law("shift_multiplier", "area_um2")(a, s)
        unit = self._multiplexers(area, delay=self.library.law("shifter", "delay_ns")(1, 8))
        # The addend moves as the product of an a-bit and an s-bit operand does.
        cost = unit.then(self._accumulation(a, _plain(np.maximum(s, 2)), c))
        return cost.then(self._clamp(c)) if saturate else cost

    @cached
    def ternary_mac(self, lhs_bits: Number, accumulator_bits: Number) -> Cost:
        """Return the cost of a MAC with weights -1, 0, 1: `lhs_bits` 2..16, `accumulator_bits` 8..64."""
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        unit = self._multiplexers(
            self.library.law("ternary_multiplier", "area_um2")(a), delay=self.library.law("shifter", "delay_ns")(1, 2)
        )
        return unit.then(self._accumulation(a, 2, c))

    @cached
    def dot_product(self, depth: int, lhs_bits: Number, rhs_bits: Number, accumulator_bits: Number) -> Cost:
        """Return the cost of `depth` (1..1024) multipliers, an exact adder tree and one accumulator.

        At depth 1 it is `integer_mac`. Tree adders have fresh random operands; every level is one bit wider.
        """
        n = checked_widths("depth", depth, 1, 1024)
        if n == 1:
            return self.integer_mac(lhs_bits, rhs_bits, accumulator_bits)
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        b = checked_widths("rhs_bits", rhs_bits, *OPERAND_BITS)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        cost = self.multiplier(a, b).times(n)
        width, left = a + b, n
        while left > 1:
            cost = cost.then(self.adder(width).times(left // 2))
            width, left = width + 1, left - left // 2
        return cost.then(self._accumulation(a, b, c))

    @cached
    def float_mac(self, fmt: Any, accumulate: Any = "fp32") -> Cost:
        """Return the cost of a float multiply-accumulate: multiplier, adder, register of the accumulator's width.

        Parameters
        ----------
        fmt
            Operands: ``fp32``, ``fp16``, ``bf16`` or ``fp8_e4m3``.
        accumulate
            Accumulator: ``fp32``, ``fp16`` or ``bf16``.
        """
        total = float_format(accumulate)
        return self.float_mul(fmt).then(self.float_add(total)).then(self.register(FORMAT_BITS[total]))

    # ---- from accumulators to codes ----

    @cached
    def requantizer(
        self,
        profile_kind: Literal["shift", "fixed", "float"],
        accumulator_bits: Number,
        multiplier_bits: Number = 32,
        double_rounding: bool = False,
    ) -> Cost:
        """Return the cost of one accumulator-to-8-bit requantizer, combinational.

        Parameters
        ----------
        profile_kind
            ``shift``: rounding shift, zero point, saturate. ``fixed``: integer multiply first, shift over the whole
            product. ``float``: convert, float multiply, round.
        accumulator_bits : 8..64
            Input width.
        multiplier_bits : 8..32
            Width of the multiplier of ``fixed``.
        double_rounding
            Keep the high half of the product with a rounding add, then shift that (gemmlowp's profile).
        """
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        if profile_kind == "shift":
            return self.rounding_shift(c)
        if profile_kind == "float":
            return self.dequantizer(c, "fp32").then(self.float_to_int("fp32", 8)).then(self.adder(8))
        if profile_kind != "fixed":
            raise ValueError(f"profile_kind must be one of shift, fixed, float, not {profile_kind!r}")
        m = checked_widths("multiplier_bits", multiplier_bits, *MULTIPLIER_BITS)
        product = self.multiplier(c, m)
        if double_rounding:
            return product.then(self.adder(c + m)).then(self.rounding_shift(c))
        return product.then(self.rounding_shift(c + m))

    @cached
    def dequantizer(self, accumulator_bits: Number, fmt: Any = "fp32") -> Cost:
        """Return the cost of integer-to-float conversion and a multiply by a scale: accumulators of 8..64 bits."""
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        return self.int_to_float(c).then(self.float_mul(fmt))

    @cached
    def quantizer(self, fmt: Any, bits: Number) -> Cost:
        """Return the cost of a float-to-integer frontend: multiply by a reciprocal scale, round, saturate to `bits`."""
        return self.float_mul(fmt).then(self.float_to_int(fmt, bits))

    @cached
    def range_scan(self, values: Any, kind: Literal["minmax", "absmax"] = "minmax") -> Cost:
        """Return the cost of a running range: maximum units with their registers, for one value a cycle.

        Parameters
        ----------
        values
            Width in bits (4..64) of integers, or a float format, whose order is that of its sign and magnitude bits.
        kind
            ``minmax`` keeps both ends; ``absmax`` one magnitude, for integers behind a negation (half an adder).
        """
        is_float = isinstance(values, str) or hasattr(values, "name")
        bits: Any = FORMAT_BITS[float_format(values)] if is_float else values
        end = self.maximum(bits).then(self.register(bits))
        if kind == "minmax":
            return end.times(2)
        if kind != "absmax":
            raise ValueError(f"kind must be one of minmax, absmax, not {kind!r}")
        # A conditional negation is half adders and exclusive ors: half of an adder.
        return end if is_float else self.adder(bits).times(0.5).then(end)

    @cached
    def codebook(self, entries: Number, width_bits: Number, clock_gated: bool = True) -> Cost:
        """Return the cost of a table in flip-flops with one read multiplexer; energy is one read.

        Parameters
        ----------
        entries : 2..1024
            Number of values.
        width_bits : 2..64
            Width of a value.
        clock_gated
            Stop the table's clock but for writes. Otherwise `idle_pj` has the clock pins of the whole table.

        Notes
        -----
        The simulated tables held constant zeros, so their reads moved nothing; a read is priced as the
        multiplexer's area at the energy density of the barrel shifter under random selects.
        """
        e = checked_widths("entries", entries, *CODEBOOK_LIMITS["entries"])
        w = checked_widths("width_bits", width_bits, *CODEBOOK_LIMITS["width_bits"])
        law = self.library.law
        cells = law("enable_register", "area_um2")(1) * e * w
        select = law("codebook", "area_um2")(e, w) - cells
        read = self._multiplexers(select, delay=law("codebook", "delay_ns")(w, e))
        clock = self.library.clock_pj_per_bit * e * w * (0.0 if clock_gated else 1.0)
        table = self.priced("register", cells, clock, 0.0)
        table = table.replace(idle_pj=table.energy_pj)
        return table.then(read)

    # ---- processing elements ----

    @cached
    def processing_element(
        self,
        lhs_bits: Number,
        rhs_bits: Number,
        accumulator_bits: Number,
        dataflow: Literal["output_stationary", "weight_stationary"] = "output_stationary",
        saturate: bool = False,
    ) -> Cost:
        """Return the cost of a systolic processing element: a MAC and the registers its dataflow needs.

        Parameters
        ----------
        lhs_bits, rhs_bits, accumulator_bits
            As `integer_mac`.
        dataflow
            ``output_stationary``: both operands pass on, two operand registers. ``weight_stationary``: one operand
            register, two weight registers (in use and loading) whose data rarely move, partial sum passes on.
        saturate
            Clamp instead of wrapping round.
        """
        mac = self.integer_mac(lhs_bits, rhs_bits, accumulator_bits, saturate)
        lhs, rhs = self.register(lhs_bits), self.register(rhs_bits)
        match dataflow:
            case "output_stationary":
                return mac + lhs + rhs
            case "weight_stationary":
                return mac + lhs + rhs.times(2).without_logic()
            case _:
                raise ValueError(f"dataflow must be one of output_stationary, weight_stationary, not {dataflow!r}")

    # ---- parts ----

    def _multiplexers(self, area: Number, *, delay: Number | None) -> Cost:
        """Cost of multiplexer logic of a synthesised area, at the barrel shifter's energy density."""
        share = self.library.no_wire_share("shifter") if self.node.synthesised else 1.0
        return self.priced("shifter", area, area * self._mux_pj_per_um2, delay, no_wire=share)

    def _clamp(self, bits: Number) -> Cost:
        """One 2:1 multiplexer a bit: one stage of the barrel shifter."""
        stage = float(self.library.law("shifter", "area_um2")(1, 2))
        return self._multiplexers(stage * bits, delay=self.library.law("shifter", "delay_ns")(1, 2))
