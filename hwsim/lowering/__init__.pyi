from .layers import lower as lower
from .operands import Operand as Operand
from .operands import operands as operands
from .verdicts import IllegalLayoutError as IllegalLayoutError
from .verdicts import verdict_of as verdict_of
