"""The base of every error that a user can mend: one sentence for what must hold, what was found, what to do."""


class PerceptError(Exception):
    """Bad input or a missing piece. The command line prints its message and exits with code 1."""


class TransientError(PerceptError):
    """What may be gone when it is tried again: a server that is busy. Exits with `TRY_AGAIN`."""


TRY_AGAIN = 75
"""Exit code of a transient failure, as in ``sysexits.h``; flows try again where they see it."""
