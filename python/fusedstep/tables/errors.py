"""Errors in a table, shown as one line."""


class TableError(ValueError):
    """A table cannot be read, or lacks needed columns."""
