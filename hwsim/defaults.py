"""What a call or a command runs where nothing is said: one place, so that library and commands agree."""

DEFAULT_SCHEME = "w8a8-static"
"""Of one run and of a design space: what an int8 array is built for, integers from layer to layer."""

DEFAULT_SCHEMES = (
    "fp32",
    "fp16",
    "w8a16",
    "w4a16-g128",
    "w8a8-static",
    "w8a8-dynamic",
    "w8a8-asym-act",
    "w8a8-asym-weight",
    "w8a8-smoothquant",
    "llm-int8",
    "mxint8",
    "w4a8-g128",
    "w8a8-channel-in",
    "pow2",
    "codebook-16",
)
"""Of a comparison."""
