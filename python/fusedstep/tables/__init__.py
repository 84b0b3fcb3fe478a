"""Read tables with pandas, and turn their columns into numbers for a network.

`read` reads a file into a DataFrame. `Columns.fit` decides whether a column has numbers, categories or dates, and
computes values such as medians. `Columns.transform` uses these values to turn a table into an array of numbers. A saved
model contains them as plain data.
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
