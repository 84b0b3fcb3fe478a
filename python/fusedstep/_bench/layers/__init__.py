"""The suite `layers`: dropout and batch norm."""
