"""Bit-accurate integer datapath models of an int8 MAC array, with latency, energy and area."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
