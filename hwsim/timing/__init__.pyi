from .closed_form import Timing as Timing
from .closed_form import closed_form as closed_form
from .schedule import Schedule as Schedule
from .schedule import schedule as schedule
