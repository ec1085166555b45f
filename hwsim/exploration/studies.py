"""A design space, and what its rows share: variants of the machine, plans, recorded formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.columns import Group, grouped
from hwsim.exploration.fields import COLUMNS, SIZES
from hwsim.exploration.laws import Law, Laws
from hwsim.exploration.prices import priced_buffers
from hwsim.exploration.results import Results
from hwsim.exploration.values import categories
from hwsim.exploration.variants import Variant, cuts, sensitive_to_depth
from hwsim.lowering import lower
from hwsim.lowering.layers import added_channels
from hwsim.network import fuse, plan_network, with_functions
from hwsim.technology import Technology

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.accelerator import Accelerator
    from hwsim.exploration.recorded import Recorded
    from hwsim.exploration.spaces import Space
    from hwsim.plan import Plan
    from quant import Scheme
    from workloads import Layer, Network

Column = npt.NDArray[Any]


class Study:
    """A design space of a network, schemes and an accelerator.

    Attributes
    ----------
    columns, grouped
        Fields of the accelerator that formulas take as columns, and those that decide between formulas.
    sizes
        Those of a product that vary.
    """

    def __init__(
        self, network: Network, schemes: Sequence[Scheme], accelerator: Accelerator, space: Space, *, costs: bool
    ) -> None:
        self.network, self.schemes, self.accelerator = network, schemes, accelerator
        self.space, self.costs = space, costs
        self.sizes = [name for name in SIZES if name in space.fields]
        self.depth = any(sensitive_to_depth(network.layers, scheme) for scheme in schemes)
        # Where plans depend on what an array adds natively, its rows group the points too.
        grouping = {"array.rows"} if self.depth else set()
        self.columns = [path for path in space.fields if path in COLUMNS - grouping]
        self.grouped = [path for path in space.fields if path not in self.columns and path not in self.sizes]
        self._variants: dict[tuple[int, ...], Variant | str] = {}
        self._groups: dict[Any, tuple[Group, ...] | str] = {}
        self._laws: dict[Any, Laws] = {}
        self._recorded: dict[tuple[int, ...], Recorded] = {}

    @property
    def rows(self) -> int:
        """Number of points."""
        return len(self.schemes) * self.space.rows

    def describe(self) -> dict[str, Any]:
        """Say what tells this study from others."""
        return {
            "workload": self.network.name,
            "schemes": [scheme.model_dump(mode="json") for scheme in self.schemes],
            "accelerator": self.accelerator.model_dump(mode="json"),
            "space": self.space.digest(),
            "costs": self.costs,
            "rows": self.rows,
        }

    def results(self, start: int, stop: int) -> Results:
        """Room for the results of rows `start` to `stop`."""
        return Results(start, stop, costs=self.costs)

    def frame(self, results: Results) -> pd.DataFrame:
        """Results beside what varies."""
        places = self.space.places(results.start, results.stop)
        columns = {"scheme": categories(places.rounds, [one.name for one in self.schemes])}
        for path, (axis, values) in self.space.fields.items():
            columns[path] = values.at(places.axes[axis])
        return results.frame(columns)

    def variant(self, scheme: int, places: tuple[int, ...]) -> Variant | str:
        """Accelerator and technology of a group of rows, or why there are none."""
        key = (scheme, *places)
        if key not in self._variants:
            self._variants[key] = self._variant(self.schemes[scheme], places)
        return self._variants[key]

    def _variant(self, scheme: Scheme, places: tuple[int, ...]) -> Variant | str:
        changes = {
            path.replace(".", "__"): self.space.values(path)[place]
            for path, place in zip(self.grouped, places, strict=True)
        }
        try:
            accelerator = self.accelerator.replace(**changes)
            technology = Technology.load(accelerator.technology)
            tables = {}
            if self.costs:
                technology.dram(accelerator.memories.dram.type)
                tables = priced_buffers(technology, accelerator, self.space)
        except ValueError as error:
            return str(error)
        memories = accelerator.memories
        # What one layer leaves on chip for the next depends on every size.
        chained = len(self.network.layers) > 1 and (memories.keeps_results or memories.prefetches_weights)
        return Variant(scheme, accelerator, technology, tables, chained)

    def _key(self, variant: Variant) -> Any:
        """All that a plan reads of a scheme and an accelerator."""
        machine = variant.accelerator
        depth = machine.array.native_depth if self.depth else 0
        lowered = (depth, machine.array.dot_depth, machine.array.convolution, machine.accumulator, machine.requantizer)
        return variant.scheme.name, *lowered, machine.vector.runs_functions

    def groups(self, variant: Variant) -> tuple[Group, ...] | str:
        """Layers of the network by structure, or why they can not run."""
        key = self._key(variant)
        if key not in self._groups:
            try:
                self._groups[key] = grouped(plan_network(self.network, variant.scheme, variant.accelerator))
            except ValueError as error:
                self._groups[key] = str(error)
        return self._groups[key]

    def lowered(self, variant: Variant) -> tuple[Plan, ...] | str:
        """Plans of the network's layers, each alone, or why one can not run."""
        try:
            alone = [lower(layer, variant.scheme, variant.accelerator) for layer in self.network.layers]
        except ValueError as error:
            return str(error)
        return with_functions(self.network, fuse(self.network, alone), variant.accelerator)

    def laws(self, variant: Variant) -> Laws:
        """Plans of the product in its shapes."""
        key = self._key(variant)
        if key not in self._laws:
            layer, scheme = self.network.layers[0], variant.scheme
            names = [name for name in layer.sizes if name in self.sizes]
            rotated = scheme.rotate is not None
            free = [name for name in names if not (rotated and name == "k")]
            self._laws[key] = Laws(layer, names, free, self._kinds(layer, scheme), scheme, variant.accelerator)
        return self._laws[key]

    def _kinds(self, layer: Layer, scheme: Scheme) -> Column:
        """Kind of each length of the reduction: a verdict reads no more of it than how often every scale changes."""
        if "k" not in self.sizes:
            return np.zeros(0, np.intp)
        lengths = np.array([length + added_channels(layer, scheme, length) for length in self.space.values("k")])
        if scheme.rotate is not None:
            return np.arange(len(lengths))
        try:
            blocks = sorted(cuts(layer, scheme))
        except ValueError:  # which no shape can be lowered without
            blocks = []
        if not blocks:
            return np.zeros(0, np.intp)
        changes = np.stack([-(-lengths // block) for block in blocks], axis=1)
        kinds: Column = np.unique(changes, axis=0, return_inverse=True)[1].reshape(-1)
        return kinds

    def recording(self, key: tuple[int, ...], variant: Variant, layer: Law | Group) -> Recorded:
        """Formulas of a variant and a layer, recorded once while the layer is the same."""
        from hwsim.exploration.recorded import Recorded  # noqa: PLC0415 a compiler, which small spaces do not need

        known = self._recorded.get(key)
        if known is None or not known.is_of(layer):
            known = self._recorded[key] = Recorded(variant, layer, self.columns)
        return known
