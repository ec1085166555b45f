from .tables import compare_table as compare_table
from .tables import frame_table as frame_table
from .tables import layers_table as layers_table
from .tables import ledger_table as ledger_table
