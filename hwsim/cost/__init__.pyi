from .area import Area as Area
from .area import area as area
from .energy import Energy as Energy
from .energy import energy as energy
