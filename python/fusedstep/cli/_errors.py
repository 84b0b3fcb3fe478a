"""Errors of the user, shown as one line."""

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit statuses after SIGINT and SIGPIPE, as shells report them


class UsageError(Exception):
    """A mistake in the arguments or the data: printed as one line, exit status 2."""
