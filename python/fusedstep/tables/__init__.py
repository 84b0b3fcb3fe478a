"""Read tables with pandas, and turn their columns into numbers for a network.

`read` opens a file. `Columns.fit` decides the kind of each column: number, category or date. `Columns.transform` makes
the numbers. The fitted values are plain data and are saved with the model.
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ._kinds import Column as Column
from ._values import as_numbers as as_numbers
from ._values import as_texts as as_texts
from ._values import decimal_of as decimal_of
from .columns import Columns as Columns
from .errors import TableError as TableError
from .reading import SUFFIXES as SUFFIXES
from .reading import read as read

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
