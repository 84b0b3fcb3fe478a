"""Errors of the user, shown as one line."""

INTERRUPTED, BROKEN_PIPE = 130, 141  # what shells report for a program that SIGINT or SIGPIPE ended


class UsageError(Exception):
    """A mistake in the arguments or the data: printed as one line, exit status 2."""
