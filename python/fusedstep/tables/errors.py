"""The error for tables. The command line shows its message as one line."""


class TableError(ValueError):
    """A table cannot be read, or its columns cannot be used."""
