"""What a plan costs on a technology: energy from its action counts, area from its components."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
