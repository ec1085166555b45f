"""The machine: array, accumulator, requantizer, vector unit, memories, clock and technology node."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from quant.documents import Document, Name, PresetDocument

Positive = Annotated[int, pydantic.Field(gt=0, strict=True)]
PositiveNumber = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegativeNumber = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]

Dataflow = Literal["output_stationary", "weight_stationary", "input_stationary"]
Drain = Literal["bus", "shift"]
PartialTiles = Literal["full", "part"]
Convolution = Literal["direct", "im2col"]


class Array(Document):
    """A systolic array of processing elements.

    Parameters
    ----------
    rows, columns
        Processing elements in each direction.
    dot_depth
        Products that one element adds exactly before it accumulates once.
    dataflow
        Which operand stays in the elements.
    drain
        How the sums of an output-stationary array leave: each over the ``bus`` of its column in the cycle that
        completes it, or with ``shift`` from element to element up the column, `rows` more cycles for each fold.
    double_buffered
        Whether a second register in each element takes the stationary operand of the next fold while the current one
        streams, so that only the first load is seen.
    overlap_folds
        Whether the operands of a fold follow those of the one before without a gap, so that filling and draining are
        paid once; an array that holds an operand must be double-buffered for it, and results must leave by the bus.
    partial_tiles
        A tile that fills the array only in part takes the cycles of the ``full`` array or of its own ``part``.
    convolution
        How buffers hold activations of a convolution: ``direct`` as the image, which a line buffer beside the array
        hands on from window to window, each value read once a pass; ``im2col`` as patches, a value stored and read
        once for each window that it is in.
    """

    rows: Positive
    columns: Positive
    dot_depth: Positive = 1
    dataflow: Dataflow = "output_stationary"
    drain: Drain = "bus"
    double_buffered: bool = False
    overlap_folds: bool = False
    partial_tiles: PartialTiles = "full"
    convolution: Convolution = "direct"

    @pydantic.model_validator(mode="after")
    def _conventions_agree(self) -> Self:
        if self.overlap_folds:
            held = {} if self.dataflow == "output_stationary" else {"double_buffered": True}
            self._require("overlap_folds is True", {"drain": "bus", "partial_tiles": "full", **held})
        if self.partial_tiles == "part":
            # A small tile would not hide the load of a larger one behind it.
            self._require("partial_tiles is part", {"double_buffered": False})
        return self

    def _require(self, where: str, fields: dict[str, str | bool]) -> None:
        for name, value in fields.items():
            if getattr(self, name) != value:
                msg = f"{name} must be {value} where {where}, not {getattr(self, name)}"
                raise ValueError(msg)

    @property
    def elements(self) -> int:
        """Multipliers."""
        return self.rows * self.columns * self.dot_depth

    @property
    def native_depth(self) -> int:
        """Products added before a partial sum can be seen; 2 at least, or every product would be a segment."""
        match self.dataflow:
            case "output_stationary":
                return max(2, self.dot_depth)
            case "weight_stationary" | "input_stationary":
                return max(2, self.rows * self.dot_depth)


class AccumulatorSpec(Document):
    """Width of the integer accumulator and what happens beyond it."""

    bits: Annotated[int, pydantic.Field(ge=8, le=64, strict=True)]
    overflow: Literal["wrap", "saturate", "trap"] = "wrap"


class Requantizer(Document):
    """Integer requantizer of a lane: width of its multiplier; 0 leaves only the shifter."""

    multiplier_bits: Annotated[int, pydantic.Field(ge=0, le=32, strict=True)] = 32


class Vector(Document):
    """Vector unit beside the array; each lane does one operation a cycle.

    Parameters
    ----------
    runs_functions
        Whether softmax, norms and other functions between layers run here, in fp32, and are counted; otherwise a host
        runs them.
    """

    lanes: Positive
    runs_functions: bool = False


class Sram(Document):
    """An on-chip buffer of equal banks; every bank moves one word a cycle."""

    capacity_bytes: Positive
    banks: Positive = 1
    bank_width_bits: Positive = 64
    double_buffered: bool = True

    @property
    def bits_per_cycle(self) -> int:
        """Bits moved each cycle by all banks together."""
        return self.banks * self.bank_width_bits

    @property
    def tile_bytes(self) -> int:
        """Bytes that one tile may take: half of the capacity when the other half is being filled."""
        return self.capacity_bytes // 2 if self.double_buffered else self.capacity_bytes


class Dram(Document):
    """Off-chip memory, shared by reads and writes.

    Parameters
    ----------
    weight_bandwidth_gb_per_s
        Of a second port that weights take alone; without it they share the first.
    """

    type: str
    bandwidth_gb_per_s: PositiveNumber
    latency_ns: NotNegativeNumber
    weight_bandwidth_gb_per_s: PositiveNumber | None = None


class Memories(Document):
    """Buffers of the two operands and of the results, and the memory behind them.

    Parameters
    ----------
    keeps_results
        Whether results can be written into the activation buffer and stay there for later layers, as in a unified
        buffer or a scratchpad that software manages; otherwise every tensor goes through DRAM.
    prefetches_weights
        Whether the free half of a double-buffered weight buffer takes weights of the next layer while one runs.
    """

    activation: Sram
    weight: Sram
    output: Sram
    dram: Dram
    keeps_results: bool = False
    prefetches_weights: bool = False

    @pydantic.model_validator(mode="after")
    def _prefetch_has_room(self) -> Self:
        if self.prefetches_weights and not self.weight.double_buffered:
            msg = "weight double_buffered must be True where prefetches_weights is True, not False"
            raise ValueError(msg)
        return self


class Accelerator(PresetDocument):
    """An accelerator as YAML describes it; see ``hwsim presets edge-16x16``.

    Parameters
    ----------
    arrays
        Equal arrays that share buffers and vector unit. They split the tiles of the result, or the rows that stream
        past a stationary operand, whichever takes less time.
    """

    package: ClassVar[str] = "hwsim"
    folder: ClassVar[str] = "presets/accelerators"
    kind: ClassVar[str] = "accelerator"

    name: Name
    description: str
    source: str
    technology: str
    clock_mhz: PositiveNumber
    array: Array
    arrays: Positive = 1
    accumulator: AccumulatorSpec
    requantizer: Requantizer = Requantizer()
    vector: Vector
    memories: Memories

    @pydantic.model_validator(mode="after")
    def _arrays_share_whole_tiles(self) -> Self:
        if self.arrays > 1 and self.array.partial_tiles == "part":
            msg = f"array partial_tiles must be full where arrays is {self.arrays}, not part"
            raise ValueError(msg)
        return self

    @property
    def cycle_ns(self) -> float:
        """Clock period in ns."""
        return 1e3 / self.clock_mhz

    @property
    def dram_bits_per_cycle(self) -> float:
        """Bits between the chip and its memory each clock cycle."""
        return 8 * self.memories.dram.bandwidth_gb_per_s * self.cycle_ns

    @property
    def elements(self) -> int:
        """Multipliers of all arrays."""
        return self.arrays * self.array.elements

    def dram_cycles(self, other_bits: Any, weight_bits: Any = 0) -> Any:
        """Cycles that the ports are busy with weights and everything else; arrays broadcast."""
        own = self.memories.dram.weight_bandwidth_gb_per_s
        if own is None:
            return (other_bits + weight_bits) / self.dram_bits_per_cycle
        return np.maximum(other_bits / self.dram_bits_per_cycle, weight_bits / (8 * own * self.cycle_ns))
