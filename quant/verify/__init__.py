"""Which scale layouts can be dequantized after accumulation: verdicts with proofs, plans and repairs."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
