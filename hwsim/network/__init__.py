"""What happens between the layers of a network: tensors that stay on chip, shared quantization, overlap."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
