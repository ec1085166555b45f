from .areas import Area as Area
from .areas import area as area
from .energies import Energy as Energy
from .energies import energy as energy
