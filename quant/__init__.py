"""Offline quantization: float tensors to integers and scales, and verdicts on scale layouts.

Knows no hardware and imports nothing else of this project.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
