"""Sourced physical numbers: area, energy, leakage and delay of datapath components, memories and wires.

`Technology.load` gives one node; its methods are component models that return a `Cost`. Every constant behind
them is listed with its source by `Technology.bibliography`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
