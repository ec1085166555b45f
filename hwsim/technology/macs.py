"""Accumulators, multiply-accumulate units and dot products, composed of primitives."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .columns import cached
from .cost import Cost, Number, _plain
from .errors import checked_widths
from .primitives import FORMAT_BITS, Primitives, float_format

OPERAND_BITS = (2, 16)
ACCUMULATOR_BITS = (8, 64)
DEPTH = (1, 1024)


class Macs(Primitives):
    """What adds products; areas add exactly."""

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
        return self._summing(self.adder(n).then(self.register(n)), n, saturate)

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
        cost = product.then(self._summing(self._accumulation(a, b, c), c, saturate)).replace(join_bits=a + b)
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
        # The addend moves as the product of an a-bit and an s-bit operand does.
        summing = self._summing(self._accumulation(a, _plain(np.maximum(s, 2)), c), c, saturate)
        return self.shift_multiplier(a, s).then(summing).replace(join_bits=a + s)

    @cached
    def shift_multiplier(self, lhs_bits: Number, max_shift: Number) -> Cost:
        """Return the cost of a signed shift by 0 to `max_shift`, or to zero: the product of `shift_mac`."""
        a, s = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS), checked_widths("max_shift", max_shift, 1, 15)
        area = self.library.law("shift_multiplier", "area_um2")(a, s)
        return self._multiplexers(area, delay=self.library.law("shifter", "delay_ns")(1, 8)).replace(cut_bits=a + s)

    @cached
    def ternary_mac(self, lhs_bits: Number, accumulator_bits: Number) -> Cost:
        """Return the cost of a MAC with weights -1, 0, 1: `lhs_bits` 2..16, `accumulator_bits` 8..64."""
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        unit = self._multiplexers(
            self.library.law("ternary_multiplier", "area_um2")(a), delay=self.library.law("shifter", "delay_ns")(1, 2)
        )
        unit = unit.replace(cut_bits=a + 2)
        return unit.then(self._summing(self._accumulation(a, 2, c), c)).replace(join_bits=a + 1)

    @cached
    def dot_product(
        self, depth: Number, lhs_bits: Number, rhs_bits: Number, accumulator_bits: Number, saturate: bool = False
    ) -> Cost:
        """Return the cost of `depth` (1..1024) multipliers, an exact adder tree and one accumulator.

        At depth 1 it is `integer_mac`. Tree adders have fresh random operands; every level is one bit wider.
        """
        n = checked_widths("depth", depth, *DEPTH)
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        b = checked_widths("rhs_bits", rhs_bits, *OPERAND_BITS)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        cost = self._tree(self.multiplier(a, b).times(n), n, a + b)
        cost = cost.then(self._summing(self._accumulation(a, b, c), c, saturate))
        return cost.replace(join_bits=_plain(a + b + np.ceil(np.log2(n))))

    @cached
    def shift_dot_product(
        self, depth: Number, lhs_bits: Number, max_shift: Number, accumulator_bits: Number, saturate: bool = False
    ) -> Cost:
        """Return the cost of `depth` (1..1024) shift units of `shift_mac`, an exact adder tree and one accumulator."""
        n = checked_widths("depth", depth, *DEPTH)
        a = checked_widths("lhs_bits", lhs_bits, *OPERAND_BITS)
        s = checked_widths("max_shift", max_shift, 1, 15)
        c = checked_widths("accumulator_bits", accumulator_bits, *ACCUMULATOR_BITS)
        cost = self._tree(self.shift_multiplier(a, s).times(n), n, a + s)
        cost = cost.then(self._summing(self._accumulation(a, _plain(np.maximum(s, 2)), c), c, saturate))
        return cost.replace(join_bits=_plain(a + s + np.ceil(np.log2(n))))

    @cached
    def float_dot_product(self, depth: Number, fmt: Any, accumulate: Any = "fp32") -> Cost:
        """Return the cost of `depth` (1..1024) float multipliers, a tree of float adders and one float accumulator.

        At depth 1 it is `float_mac`. All adders have the accumulator's format, as in tensor cores that round once a
        level; a fused unit that aligns all products first would be smaller.
        """
        n = checked_widths("depth", depth, *DEPTH)
        total = float_format(accumulate)
        adder, levels = self.float_add(total), _plain(np.ceil(np.log2(n)))
        tree = adder.times(n - 1).replace(
            delay_ns=None if adder.delay_ns is None else levels * adder.delay_ns,
            cut_bits=adder.cut_bits * (n - 1) / np.maximum(levels, 1),  # levels halve: the mean over them
        )
        cost = self.float_mul(fmt).times(n).then(tree).then(self._float_sum(total))
        return cost.replace(join_bits=FORMAT_BITS[total])

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
        return self.float_mul(fmt).then(self._float_sum(total)).replace(join_bits=FORMAT_BITS[total])

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
                # The sum passes on to the next element, whose register takes it: no path leads back.
                return (mac + lhs + rhs.times(2).without_logic()).replace(loop_ns=0.0)
            case _:
                raise ValueError(f"dataflow must be one of output_stationary, weight_stationary, not {dataflow!r}")

    @cached
    def multiplexer(self, bits: Number) -> Cost:
        """Return the cost of a choice between two values of `bits` (1..4096): one stage of the barrel shifter."""
        return self._clamp(checked_widths("bits", bits, 1, 4096))

    # ---- parts ----

    def _summing(self, adder_and_register: Cost, bits: Number, saturate: bool = False) -> Cost:
        """Feed the register of a sum back to its adder, through a clamp if it saturates."""
        clamped = adder_and_register.then(self._clamp(bits)) if saturate else adder_and_register
        return clamped.in_a_loop(bits)

    def _float_sum(self, fmt: str) -> Cost:
        """Feed the register of a float sum back to its adder."""
        return self.float_add(fmt).then(self.register(FORMAT_BITS[fmt])).in_a_loop(FORMAT_BITS[fmt])

    def _tree(self, products: Cost, count: Number, bits: Number) -> Cost:
        """Put an exact adder tree behind `count` products of `bits`; every level is one bit wider."""
        cost, width, left = products, bits, count
        while np.max(left) > 1:
            adder, pairs = self.adder(width), left // 2
            delay = None if adder.delay_ns is None else _plain(adder.delay_ns * (pairs > 0))
            cost = cost.then(adder.times(pairs).replace(delay_ns=delay))
            width, left = width + 1, left - pairs
        return cost

    def _multiplexers(self, area: Number, *, delay: Number | None) -> Cost:
        """Cost of multiplexer logic of a synthesised area, at the barrel shifter's energy density."""
        share = self.library.no_wire_share("shifter") if self.node.synthesised else 1.0
        return self.priced("shifter", area, area * self._mux_pj_per_um2, delay, no_wire=share)

    def _clamp(self, bits: Number) -> Cost:
        """One 2:1 multiplexer a bit: one stage of the barrel shifter."""
        stage = float(self.library.law("shifter", "area_um2")(1, 2))
        cost = self._multiplexers(stage * bits, delay=self.library.law("shifter", "delay_ns")(1, 2))
        return cost.replace(cut_bits=1.0 * bits)
