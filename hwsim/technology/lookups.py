"""Tables in flip-flops: codebooks, and the encoder and look-up of product quantization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from .columns import cached
from .converters import Converters
from .cost import Cost, Number, _plain
from .errors import checked_widths
from .macs import OPERAND_BITS

CODEBOOK_LIMITS: Mapping[str, tuple[int, int]] = {"entries": (2, 1024), "width_bits": (2, 64)}


class Lookups(Converters):
    """Component models that read tables; areas add exactly."""

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
        read = read.replace(cut_bits=_plain(w + np.log2(e)))  # a value, or what chooses it
        clock = self.library.clock_pj_per_bit * e * w * (0.0 if clock_gated else 1.0)
        table = self.priced("register", cells, clock, 0.0)
        table = table.replace(idle_pj=table.energy_pj)
        return table.then(read)

    @cached
    def pq_encoder(
        self, prototypes: int, subspace: int, bits: Number, kind: Literal["distance", "tree"] = "distance"
    ) -> Cost:
        """Return the cost of finding the prototype of one subvector a cycle, with the constants it compares with.

        Parameters
        ----------
        prototypes : 2..256
            Prototypes of a subspace.
        subspace : 1..64
            Length of a subvector.
        bits : 2..16
            Width of its values.
        kind
            ``distance``: for each prototype p a dot product x p, less half of p p, and a tree that keeps the largest:
            the nearest prototype. ``tree``: a path of log2(prototypes) comparisons of one value with a threshold, as
            Maddness encodes (Blalock and Guttag, ICML 2021): not the nearest.

        Returns
        -------
        cost
            Constants are in clock-gated flip-flops. Energy is that of one subvector.
        """
        k, length = checked_widths("prototypes", prototypes, 2, 256), checked_widths("subspace", subspace, 1, 64)
        b = checked_widths("bits", bits, *OPERAND_BITS)
        levels = (k - 1).bit_length()
        match kind:
            case "distance":
                score = 2 * b + (length - 1).bit_length() + 1
                products = self._tree(self.multiplier(b, b).times(length), length, 2 * b)
                best = self.maximum(score).times(k - 1)
                if best.delay_ns is not None:
                    best = best.replace(delay_ns=levels * best.delay_ns, cut_bits=best.cut_bits / levels)
                scores = products.then(self.adder(score)).times(k)
                return scores.then(best) + self._constants(k * (length * b + score))
            case "tree":
                step = self.multiplexer(b).times(length - 1).then(self.comparator(np.maximum(b, 4)))
                path = step.times(levels)
                if path.delay_ns is not None:
                    path = path.replace(delay_ns=levels * path.delay_ns, cut_bits=step.cut_bits)
                return path + self._constants((k - 1) * b)
            case _:
                raise ValueError(f"kind must be one of distance, tree, not {kind!r}")

    @cached
    def pq_lookup(self, prototypes: int, table_bits: Number, accumulator_bits: Number) -> Cost:
        """Return the cost of reading one dot product of `prototypes` (2..1024) by index and adding it up.

        Parameters
        ----------
        prototypes
            Entries of the table.
        table_bits : 2..64
            Width of an entry.
        accumulator_bits : 8..64
            Width of the sum.
        """
        return (
            self.codebook(prototypes, table_bits).then(self.accumulator(accumulator_bits)).replace(join_bits=table_bits)
        )

    def _constants(self, bits: Number) -> Cost:
        """Flip-flops with an enable that keep their values: area and leakage, no energy."""
        area = self.library.law("enable_register", "area_um2")(1) * bits
        return self.priced("register", area, 0.0, 0.0)
