"""What every route needs of a request, each with its limit: who sent it, its body, its proof.

Threading: a `Requests` may be used by any thread; a lock guards the count of bodies.
"""

import re
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from shoal.addresses import Address
from shoal.errors import Busy, DataError, Refused, ShoalError
from shoal.wire import MAX_BODY, PROOF, Problem, proves
from tracker.address import Machine, Network, peer_url, quota_key, seed_url, source_of
from tracker.leases import Where

Environ = dict[str, Any]

_SECRET = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PROOF = "HTTP_" + PROOF.upper().replace("-", "_")
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)


class Requests:
    """Reads requests. `bodies` is how many bodies are read at once from one source at most, and from all together.

    A body that comes byte by byte holds a thread for as long as it likes, as Granian sets no time for one: no source
    may hold many, and all together must leave some for those who only ask.
    """

    def __init__(self, machine: Machine, trusted: Sequence[Network], bodies: tuple[int, int]) -> None:
        self._machine, self._trusted = machine, trusted
        self._bodies, self._all_bodies = bodies
        self._reading: Counter[str] = Counter()
        self._lock = threading.Lock()

    def source(self, environ: Environ) -> Address:
        """Who sent it. Raises DataError when that is not an address."""
        return source_of(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", ""), self._trusted)

    def peer_at(self, source: Address, advertise: str, port: int) -> Where:
        """Where a peer of ours is listed. Raises as `address.peer_url`."""
        return Where(str(source), quota_key(source), peer_url(source, advertise, port, self._machine))

    def seed_at(self, source: Address, host: str, port: int) -> Where:
        """Where a peer of the seed's protocol is listed. Raises as `address.seed_url`."""
        return Where(str(source), quota_key(source), seed_url(source, host, port, self._machine))

    def body(self, environ: Environ, source: Address) -> bytes:
        """The whole body.

        Raises:
            Refused: over `MAX_BODY` (413), or compressed (415).
            DataError: it is shorter than was said.
            Busy: as many bodies as may be are coming already, from this source or from all.
        """
        if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
            raise Refused("a body must not be compressed", status=415)
        said = environ.get("CONTENT_LENGTH") or ""
        if said and not _LENGTH.fullmatch(said):
            raise DataError("a body without a sensible length")
        if said and int(said) > MAX_BODY:
            raise _too_long()
        key = quota_key(source)
        with self._lock:
            if self._reading[key] >= self._bodies:
                raise Busy("too many requests from this address are under way")
            if self._reading.total() >= self._all_bodies:
                raise Busy("too many requests are under way")
            self._reading[key] += 1
        try:
            body: bytes = environ["wsgi.input"].read(int(said) if said else MAX_BODY + 1)
        except (OSError, RuntimeError) as error:
            raise DataError(f"the body broke off: {error}") from None
        finally:
            with self._lock:
                self._reading[key] -= 1
                if not self._reading[key]:
                    del self._reading[key]
        if len(body) > MAX_BODY:
            raise _too_long()
        if said and len(body) != int(said):
            raise DataError("the body is shorter than was said")
        return body


def check_proof(environ: Environ, id: str) -> None:
    """Whether the request proves to come from the peer `id`.

    Raises:
        Refused: it does not (403).
    """
    secret = environ.get(_PROOF, "")
    # The form is checked too: an id of a peer of the seed's protocol is the hash of something anybody can say.
    if not _SECRET.fullmatch(secret) or not proves(secret, id):
        raise Refused(f"{PROOF} does not prove this id", status=403)


def problem(error: ShoalError) -> tuple[int, Problem]:
    """The HTTP status and the body that answer an error."""
    if isinstance(error, Refused):
        return error.status, Problem(str(error), error.need)
    if isinstance(error, Busy):
        return 503, Problem(str(error))
    if isinstance(error, DataError):
        return 400, Problem(str(error))
    return 500, Problem(str(error))


def _too_long() -> Refused:
    return Refused(f"a body of more than {MAX_BODY} bytes", status=413)
