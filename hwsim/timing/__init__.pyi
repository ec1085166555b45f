from .closed_form import Timing as Timing
from .closed_form import closed_form as closed_form
from .tiling import Schedule as Schedule
from .tiling import schedule as schedule
