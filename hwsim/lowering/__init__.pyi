from .layers import lower as lower
from .layer_operands import Operand as Operand
from .layer_operands import operands as operands
from .verdicts import IllegalLayoutError as IllegalLayoutError
from .verdicts import verdict_of as verdict_of
from .layer_operands import per_image as per_image
