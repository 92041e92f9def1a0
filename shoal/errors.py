"""Every error that Shoal raises on purpose, in one tree.

    ShoalError                    the sentence that the user sees is the message
    ├── UsageError                ours: wrong arguments, unfit directories (exit 2)
    ├── LocalError                ours: this machine's disk, lock or mount
    ├── RemoteError               theirs: a peer or tracker did not do its part
    │   ├── Unreachable             no connection, or it fell silent       (again helps)
    │   ├── Busy                    it said: later                         (again helps)
    │   ├── Refused                 it said no: 4xx
    │   ├── Gone                    it no longer has that content
    │   └── Misbehaved              it broke the protocol or a limit
    │       └── Lied                its bytes do not match their hash
    └── DataError                 the data's: cannot be read as what it claims to be
        ├── BadName                 a name that must not become a path
        └── BadManifest             bytes that are no manifest

`again` says whether trying the same thing again may help.
"""


class ShoalError(Exception):
    """Base of all errors; `str(error)` is one sentence for a person."""

    again = False


class UsageError(ShoalError):
    """What was asked for cannot be done as asked; programs exit 2."""


class LocalError(ShoalError):
    """This machine's disk, lock or mount stands in the way."""


class RemoteError(ShoalError):
    """Another node did not do its part."""


class Unreachable(RemoteError):
    """No connection could be made, or the other side fell silent."""

    again = True


class Busy(RemoteError):
    """The other side is alive and said: later (503, 429)."""

    again = True


class Refused(RemoteError):
    """The other side understood and said no.

    `status` is the HTTP status, `need` what it asks for instead ("all": a full list).
    """

    def __init__(self, message: str, status: int = 0, need: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.need = need


class Gone(RemoteError):
    """The holder no longer has that content (404, 410): no blame."""


class Misbehaved(RemoteError):
    """The other side broke the protocol or went over a limit."""


class Lied(Misbehaved):
    """The other side sent bytes that do not match their hash."""


class DataError(ShoalError):
    """Data that is not what it claims to be, wherever it came from."""


class BadName(DataError):
    """A name that must not become a path."""


class BadManifest(DataError):
    """Bytes that are no manifest, or not the one asked for."""
