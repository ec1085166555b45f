"""Claims of the source documents on quantization, measured again on the spot.

The source documents are lecture notes on quantization (ids N01 to N55), the blog post "HW Compatible Quantization"
(B01 to B12) and a chapter on strategies, "The Math Behind Quantization" (C01 to C31). Each claim is a function that
measures it under several conditions and compares; the verdict follows from the comparisons.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
