"""Design spaces: the closed forms of time, energy and area over columns of points."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
