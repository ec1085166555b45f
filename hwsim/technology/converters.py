"""What stands between accumulators, codes and floats: requantizers, converters, roundings, range scans."""

from __future__ import annotations

from typing import Any, Literal

from .columns import cached
from .cost import Cost, Number
from .errors import checked_widths
from .macs import ACCUMULATOR_BITS, Macs
from .primitives import FORMAT_BITS, float_format

MULTIPLIER_BITS = (8, 32)


class Converters(Macs):
    """Component models at the edge of the integers; areas add exactly."""

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
        end = self.maximum(bits).then(self.register(bits)).in_a_loop(bits)
        if kind == "minmax":
            return end.times(2)
        if kind != "absmax":
            raise ValueError(f"kind must be one of minmax, absmax, not {kind!r}")
        # A conditional negation is half adders and exclusive ors: half of an adder.
        return end if is_float else self.adder(bits).times(0.5).then(end)

    @cached
    def rounder(self, kind: Literal["nearest", "stochastic"], bits: Number, random_bits: Number = 16) -> Cost:
        """Return the cost of rounding a value of `bits` (4..128) when low bits are dropped.

        Parameters
        ----------
        kind
            ``nearest``: an increment, half of an adder. ``stochastic``: an adder of random low bits, and the shift
            register that makes them. Dropping bits without rounding takes no hardware and has no entry here.
        bits
            Width before dropping.
        random_bits : 4..64
            Length of the shift register of ``stochastic``.
        """
        add = self.adder(bits)
        match kind:
            case "nearest":
                # A carry into a chain of half adders.
                return add.times(0.5)
            case "stochastic":
                return self.lfsr(random_bits).then(add)
            case _:
                raise ValueError(f"kind must be one of nearest, stochastic, not {kind!r}")
