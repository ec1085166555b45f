from .cycles import Timing as Timing
from .cycles import closed_form as closed_form
from .register_level import ArrayRun as ArrayRun
from .register_level import run_array as run_array
from .tiling import Schedule as Schedule
from .tiling import schedule as schedule
