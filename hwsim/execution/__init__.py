"""Run a plan on real operands: float in, integers through the datapath, float or integers out, bit for bit.

`prepare` does the offline work (quantize weights, fix static ranges, fold smoothing), `execute` interprets the
steps of a plan in order. The integer side is exact; where a scheme rescales in floating point, each operation is
rounded to the stated format in the stated order:

- one dequantization: ``lhs_scale * (rhs_scale * float32(sum))``, then the bias, all in float32, then the carrier
  (the order of vLLM's CUTLASS epilogues, ``scaled_mm_epilogues_c2x.hpp``);
- float rescaling of partial sums: ``total += (lhs_scale * rhs_scale) * float32(sum)`` in float32, first segment
  first; shifts and integer multiples are exact and rounded to float32 once;
- requantization: the profile that the scheme names.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
