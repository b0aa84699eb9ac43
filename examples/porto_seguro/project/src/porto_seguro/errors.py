"""Errors that a user reads: each says what was wrong, where, and what to do."""


class ProjectError(Exception):
    """Base of all errors shown as one sentence; `code` is the exit code of the process."""

    code = 3


class DataError(ProjectError):
    """The data or a file of the user's is not as it should be."""

    code = 1


class UsageError(ProjectError):
    """The command cannot be meant like this, or another command comes first."""

    code = 2


class Fault(ProjectError):
    """The machine, not the data: disk, permissions, another run at work."""
