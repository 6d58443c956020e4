"""The one exception a user is meant to read."""


class UserError(Exception):
    """A problem the user can mend: one line that says what is wrong, where, and what to do."""
