from .interpreter import Execution as Execution
from .interpreter import array_operands as array_operands
from .interpreter import execute as execute
from .preparation import Prepared as Prepared
from .samples import Samples as Samples
from .preparation import prepare as prepare
from .quantization import Float32 as Float32
from .migration import shared_labels as shared_labels
