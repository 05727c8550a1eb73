"""Every error that a user can cause, as one family.

    EdgeError                 a fact, and the command that helps
    ├── UsageError            the command line is not understood
    ├── ConfigError           edge.yaml is missing, broken or says something impossible
    ├── StateError            the shared state cannot be read or changed
    │   └── StateLockedError  somebody else is changing it
    ├── ServerError           the servers of target `local` do not start or answer
    ├── CloudError            a call to Vertex AI or Cloud Storage failed
    │   ├── NotFoundError     what was asked for does not exist
    │   ├── NoAnswerError     nothing answered: the network, or the server, is away
    │   ├── ForbiddenError    this account may not do that
    │   └── ConflictError     it exists already, or was changed by somebody else meanwhile
    │       └── BucketTakenError  the bucket's name belongs to somebody else
    ├── DataError             data that DVC should have is not there
    ├── GitError              git refuses something, or is not there
    └── TrainingError         a training failed or gave no usable result

The tasks print `error:` with the fact, then `hint:` with the command, and exit with status 1.
"""

from __future__ import annotations

import errno

from edge_tasks.redaction import redact_logins


class EdgeError(Exception):
    """Something went wrong that the user can understand and fix.

    `problem` is the fact with the names in it, `hint` what to do about it (usually a command to type). Neither
    ends in a full stop unless it holds several sentences. Words of other programs, such as git's, come into it, so
    who logs in to an address is left out.
    """

    def __init__(self, problem: str, hint: str | None = None):
        self.problem = redact_logins(problem)
        self.hint = redact_logins(hint) if hint else hint
        super().__init__(self.problem)

    def __str__(self) -> str:
        """Return both lines as the user sees them."""
        return f"{self.problem}\n\nhint: {self.hint}" if self.hint else self.problem


class UsageError(EdgeError):
    """The command line is not understood."""


class ConfigError(EdgeError):
    """edge.yaml is missing, broken or says something impossible."""


class StateError(EdgeError):
    """The shared state cannot be read or changed."""


class StateLockedError(StateError):
    """Somebody else is changing the shared state."""


class ServerError(EdgeError):
    """The servers of target `local` do not start or answer."""


class CloudError(EdgeError):
    """A call to Vertex AI or Cloud Storage failed."""


class NotFoundError(CloudError):
    """What was asked for does not exist."""


class NoAnswerError(CloudError):
    """Nothing answered: the network, or the server, is away for now."""


class ForbiddenError(CloudError):
    """This account may not do that."""


class ConflictError(CloudError):
    """It exists already, or somebody else changed it meanwhile."""


class BucketTakenError(ConflictError):
    """The bucket's name belongs to somebody else: names are unique in the world."""


class DataError(EdgeError):
    """Data that DVC should have is not there."""


class GitError(EdgeError):
    """git refuses something, or is not there."""


class TrainingError(EdgeError):
    """A training failed or gave no usable result."""


MAKE_ROOM = "make room (df -h shows it), then try again"


def disk_refusal(error: OSError) -> EdgeError | None:
    """Return what to say when `error` tells of a disk that is full or read-only, or of a file of somebody else's.

    None for another error. A quota that is used up is a full disk.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f": `{error.filename}`" if error.filename else ""
        return EdgeError(f"there is no space left on the disk{where}", MAKE_ROOM)
    if error.errno == errno.EROFS:
        return EdgeError(
            f"`{error.filename}` cannot be written: its disk is read-only",
            "work in a clone on a disk that can be written",
        )
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename:  # a signal has none
        return EdgeError(
            f"this user may not read or write `{error.filename}`",
            "ls -ld shows whose it is, often root's after sudo or Docker; sudo chown gives it back",
        )
    return None
