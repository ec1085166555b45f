from .fronts import pareto as pareto
from .sweeps import explore as explore
