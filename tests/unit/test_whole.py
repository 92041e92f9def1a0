import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from peer.swarm import whole
from shoal.errors import Lied
from shoal.manifest import manifest_of


def pieces_of(data: bytes, said: bytes) -> Any:
    read = lambda offset, size: data[offset : offset + size]  # noqa: E731
    return cast(Any, SimpleNamespace(manifest=manifest_of(said), read=read))


def test_it_gives_way_after_each_bit_and_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[int] = []
    monkeypatch.setattr(whole, "Patience", lambda: SimpleNamespace(rest=lambda: rests.append(1)))
    data = bytes(3 * whole.CHUNK + 1)
    whole.check_whole(pieces_of(data, data), threading.Event())
    assert len(rests) == 4
    with pytest.raises(Lied):
        whole.check_whole(pieces_of(data, b"\1" + data[1:]), threading.Event())
