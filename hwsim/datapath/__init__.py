"""Integers to integers, bit for bit: multiply, accumulate, correct for zero points, requantize.

Numbers leave here exact or an error leaves instead. `docs/datapath.md` derives each stage.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
