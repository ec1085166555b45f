"""ResNet-50: published numbers of parameters, products and layers, and shapes that follow from one another."""

import math

from workloads import Function, FunctionKind, Layer, resnet50


def test_parameters_and_products_are_as_published() -> None:
    network = resnet50()
    convolutions = [layer for layer in network.layers if layer.contraction.startswith("conv2d")]
    weights = sum(math.prod(layer.rhs_shape) for layer in network.layers)
    # torchvision's resnet50 has 25,557,032 parameters: these, two for each channel of a batch norm, and the biases.
    norms = 2 * sum(layer.sizes["o"] for layer in convolutions)
    assert weights + norms + 1000 == 25_557_032
    assert (len(convolutions), len(network.layers)) == (53, 54)
    assert network.macs == 4_089_184_256  # 4.09 GFLOPS in torchvision's table, a product and its sum counted once


def test_every_layer_reads_what_the_one_before_makes() -> None:
    shapes: dict[str, tuple[int, ...]] = {"image": (1, 3, 224, 224)}
    for node in resnet50().nodes:
        if isinstance(node, Layer):
            assert shapes[node.lhs] == node.lhs_shape, node.name
            shapes[node.output] = node.output_shape
            continue
        made = tuple(node.sizes[label] for label in node.axes)
        read = [shapes[name] for name in node.inputs]
        match node.kind:
            case FunctionKind.MAX_POOL:
                assert (read, made) == ([(1, 64, 112, 112)], (1, 64, 56, 56))
            case FunctionKind.MEAN:
                assert (read, made) == ([(1, 2048, 7, 7)], (1, 2048))
            case _:
                assert set(read) == {made}, node.name
        shapes[node.output] = made
    assert shapes["logits"] == (1, 1000)


def test_residuals_add_the_input_or_the_shortcut_of_a_block() -> None:
    adds = [node for node in resnet50().nodes if isinstance(node, Function) and node.kind is FunctionKind.ADD]
    assert len(adds) == 16
    assert [node.inputs[1].split(".")[-1] for node in adds].count("shortcut") == 4


def test_images_side_by_side_share_the_weights() -> None:
    network = resnet50().batched(3)
    assert network.macs == 3 * resnet50().macs
    assert network.layer("stem").output_shape == (3, 64, 112, 112)
    assert network.layer("stem").rhs_shape == resnet50().layer("stem").rhs_shape
