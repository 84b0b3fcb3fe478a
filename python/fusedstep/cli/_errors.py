"""What the user did wrong, in one line."""


class UsageError(Exception):
    """A mistake in the arguments or the data: printed as one line, exit status 2."""
