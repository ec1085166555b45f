from .cycles import Timing as Timing
from .cycles import closed_form as closed_form
from .tiling import Schedule as Schedule
from .tiling import schedule as schedule
