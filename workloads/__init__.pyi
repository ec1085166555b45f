from .catalog import load as load
from .catalog import names as names
from .layer import Function as Function
from .layer import FunctionKind as FunctionKind
from .layer import Layer as Layer
from .network import Network as Network
from .synthetic import gemm as gemm
from .synthetic import parse_gemm as parse_gemm
