"""The base of every error that a user can mend: one sentence for what must hold, what was found, what to do."""


class PerceptError(Exception):
    """Bad input or a missing piece. The command line prints its message and exits with code 1."""
