"""ResNet-50 by its published shapes."""

from __future__ import annotations

import functools

from .function import Function, FunctionKind
from .layer import Layer, Producer
from .network import Network
from .tensors import ShapesOnly

SOURCE = (
    "He et al., CVPR 2016 (arXiv 1512.03385), table 1, the stride of a stage in its first 3x3 convolution as in "
    "torchvision's resnet50; batch norms folded into the weights, their biases left out"
)
IMAGE, CLASSES = 224, 1000

# output size, channels inside a block, channels out of it, blocks
STAGES = ((56, 64, 256, 3), (28, 128, 512, 4), (14, 256, 1024, 6), (7, 512, 2048, 3))


@functools.cache
def resnet50() -> Network:
    """Lay out ResNet-50 for one image of 224 x 224.

    Returns
    -------
    network
        53 convolutions and the classifier, with shapes only.

    Examples
    --------
    >>> network = resnet50()
    >>> len(network.layers), network.macs
    (54, 4089184256)
    """
    nodes: list[Layer | Function] = []

    def convolve(name: str, x: str, sizes: tuple[int, int, int, int], stride: int, producer: Producer) -> str:
        channels, size, outputs, taps = sizes
        settings = (f" stride={stride}" if stride > 1 else "") + (f" padding={taps // 2}" if taps > 1 else "")
        labels = {"b": 1, "c": channels, "h": size, "w": size, "o": outputs, "r": taps, "s": taps}
        nodes.append(Layer(name, f"conv2d{settings}", labels, x, f"{name}.weight", name, lhs_producer=producer))
        return name

    def function(kind: FunctionKind, name: str, inputs: tuple[str, ...], channels: int, size: int) -> str:
        parameters = {"window": 3.0, "stride": 2.0, "padding": 1.0} if kind is FunctionKind.MAX_POOL else {}
        axes, sizes = "bopq", {"b": 1, "o": channels, "p": size, "q": size}
        if kind is FunctionKind.MEAN:
            axes, sizes = "bc", {"b": 1, "c": channels}
        nodes.append(Function(name, kind, inputs, name, axes, sizes, parameters))
        return name

    x = convolve("stem", "image", (3, IMAGE, 64, 7), 2, "input")
    x = function(FunctionKind.RELU, "stem_relu", (x,), 64, 112)
    x = function(FunctionKind.MAX_POOL, "stem_pool", (x,), 64, 56)
    inputs, size = 64, 56
    for stage, (out_size, width, outputs, blocks) in enumerate(STAGES, 1):
        for block in range(blocks):
            at, stride = f"{stage}.{block}.", 2 if size > out_size else 1
            y = convolve(f"{at}reduce", x, (inputs, size, width, 1), 1, "function")
            y = function(FunctionKind.RELU, f"{at}reduce_relu", (y,), width, size)
            y = convolve(f"{at}spatial", y, (width, size, width, 3), stride, "function")
            y = function(FunctionKind.RELU, f"{at}spatial_relu", (y,), width, out_size)
            y = convolve(f"{at}expand", y, (width, out_size, outputs, 1), 1, "function")
            if block == 0:
                x = convolve(f"{at}shortcut", x, (inputs, size, outputs, 1), stride, "function")
            y = function(FunctionKind.ADD, f"{at}add", (y, x), outputs, out_size)
            x = function(FunctionKind.RELU, f"{at}relu", (y,), outputs, out_size)
            inputs, size = outputs, out_size
    x = function(FunctionKind.MEAN, "pool", (x,), inputs, 1)
    classify = {"m": 1, "k": inputs, "n": CLASSES}
    nodes.append(
        Layer("classifier", "mk,kn->mn", classify, x, "classifier.weight", "logits", bias="classifier.bias",
              lhs_producer="function")
    )  # fmt: skip
    constants = [layer.rhs for layer in nodes if isinstance(layer, Layer)]
    absent = ShapesOnly(("image",), "resnet50")
    source = "no tensors: the workload has shapes only"
    return Network(
        "resnet50",
        SOURCE,
        tuple(nodes),
        ShapesOnly((*constants, "classifier.bias"), "resnet50"),
        absent,
        absent,
        source,
        source,
    )
