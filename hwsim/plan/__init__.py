"""The plan of one layer: ordered steps, each one thing the hardware does.

Numerics execute a plan, timing schedules it, energy multiplies its counts, area lists its components and the
report prints it: all of them read the same steps, so a scheme can not be priced as one thing and computed as
another. A step knows its shapes, its formats and how many primitive actions it takes.

Counts are arithmetic on sizes and so broadcast when sizes are columns.
"""

from hwsim.plan.array_steps import MultiplyAccumulate, SumForZeroPoint
from hwsim.plan.components import Action, Component, Per, Place
from hwsim.plan.function_steps import ApplyFunction
from hwsim.plan.layer_plan import Plan, SideTensor, Step, Stored
from hwsim.plan.operand_steps import (
    Decode,
    DequantizeWeights,
    EncodePrototypes,
    Migrate,
    Quantize,
    RepeatChannels,
    Role,
    Rotate,
    ScanRange,
)
from hwsim.plan.result_steps import (
    AddBias,
    CorrectZeroPoints,
    Dequantize,
    MultiplyOutliers,
    Requantize,
    RescalePartialSums,
)
from hwsim.plan.windows import Windows

__all__ = [
    "Action",
    "AddBias",
    "ApplyFunction",
    "Component",
    "CorrectZeroPoints",
    "Decode",
    "Dequantize",
    "DequantizeWeights",
    "EncodePrototypes",
    "Migrate",
    "MultiplyAccumulate",
    "MultiplyOutliers",
    "Per",
    "Place",
    "Plan",
    "Quantize",
    "RepeatChannels",
    "Requantize",
    "RescalePartialSums",
    "Role",
    "Rotate",
    "ScanRange",
    "SideTensor",
    "Step",
    "Stored",
    "SumForZeroPoint",
    "Windows",
]
