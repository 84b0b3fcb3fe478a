"""Tables as people have them: read with pandas, and turned into numbers for a network, column by column.

`read` opens a file, `Columns.fit` decides what each column is, `Columns.transform` makes the numbers. What was fitted
is plain data that is saved with the model.
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ._kinds import Column
from ._values import as_numbers, as_texts, decimal_of
from .columns import Columns
from .errors import TableError
from .reading import SUFFIXES, read

__all__ = ["SUFFIXES", "Column", "Columns", "TableError", "as_numbers", "as_texts", "decimal_of", "read"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
