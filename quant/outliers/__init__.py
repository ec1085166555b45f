"""Outlier channels of activations: transforms of (activation, weight) that keep the real product and quantize better.

Channels lie along the reduction, where the scales of an integer product cannot vary. Each transform treats the weight
offline and states what it costs for each call.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
