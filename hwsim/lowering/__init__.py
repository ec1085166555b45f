"""Lower a layer and a scheme to the plan of an accelerator, as the verdict on its scale layouts allows."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
