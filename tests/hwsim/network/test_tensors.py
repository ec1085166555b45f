"""Tensors of a network: makers, readers and lives, on a graph small enough to list by hand."""

from hwsim.network import Read, tensors_of
from tests.hwsim.network.graphs import chain
from workloads import resnet50


def test_makers_readers_and_names_are_those_of_the_graph() -> None:
    # 0 up: x -> h; 1 relu: h -> r; 2 side: r -> s; 3 split: s -> t; 4 down: t -> u; 5 add: u, r -> y
    found = {tensor.name: tensor for tensor in tensors_of(chain())}
    assert list(found) == ["x", "h", "r", "s", "u", "y"]
    assert {name: (t.made, t.maker) for name, t in found.items()} == {
        "x": (-1, None),
        "h": (0, "up"),
        "r": (1, None),
        "s": (2, "side"),
        "u": (4, "down"),
        "y": (5, None),
    }
    assert {name: t.reads for name, t in found.items()} == {
        "x": [Read(0, "up", "lhs")],
        "h": [Read(1, None)],
        "r": [Read(2, "side", "lhs"), Read(5, None)],
        "s": [Read(4, "down", "rhs"), Read(4, "down", "lhs")][::-1],
        "u": [Read(5, None)],
        "y": [],
    }
    assert found["s"].names == ["s", "t"]


def test_a_shortcut_lives_until_it_is_added() -> None:
    network = resnet50()
    at = {node.name: position for position, node in enumerate(network.nodes)}
    tensors = {tensor.name: tensor for tensor in tensors_of(network)}
    assert [read.node for read in tensors["1.1.relu"].reads] == [at["1.2.reduce"], at["1.2.add"]]
