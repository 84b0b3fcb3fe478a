"""The error for mistakes of the user. The command line shows it as one line."""

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit statuses after SIGINT and SIGPIPE, as shells report them


class UsageError(Exception):
    """A mistake in the arguments or the data. It is printed as one line, and the exit status is 2."""
