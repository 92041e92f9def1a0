"""Who is connected to the data server: the caps, and who makes room."""

import time

from peer.data.clients import Clients
from peer.data.uplink import asker_of

ID, OTHER = b"a" * 64, b"b" * 64


class Fake:
    """A connection, idle for so many seconds, or in use."""

    def __init__(self, asker: str, idle: float | None = None) -> None:
        self.asker = asker
        self.idle = None if idle is None else time.monotonic() - idle
        self.was_cut = False

    def cut(self) -> None:
        self.was_cut = True


def test_so_many_in_all_and_so_many_of_one() -> None:
    clients = Clients(5, 2)
    assert [clients.come(Fake("a")) for _ in range(4)] == [True, True, False, False]
    assert [clients.come(Fake(name)) for name in "bcde"] == [True, True, True, False]
    assert len(clients) == 5


def test_the_longest_idle_makes_room_its_own_askers_first() -> None:
    clients = Clients(4, 2)
    mine, old, new, busy = Fake("a", 3), Fake("b", 9), Fake("b", 1), Fake("a")
    assert all(clients.come(client) for client in (mine, old, new, busy))
    assert clients.come(Fake("a"))
    assert (mine.was_cut, old.was_cut) == (True, False), "who has enough gets no more of the others'"
    assert clients.come(Fake("c"))
    assert (old.was_cut, new.was_cut) == (True, False)
    assert len(clients) == 4
    clients.go(mine)
    clients.go(old)
    assert len(clients) == 4, "they were gone already"


def test_who_has_just_come_has_a_moment_to_ask() -> None:
    clients = Clients(1, 1)
    assert clients.come(Fake("a", -1))
    assert not clients.come(Fake("b"))


def test_a_connection_that_says_whose_it_is_moves_to_that_account() -> None:
    clients = Clients(10, 2)
    first, second, third = (Fake("127.0.0.1") for _ in range(3))
    assert clients.come(first)
    assert clients.come(second)
    assert clients.rename(first, "127.0.0.1 x")
    assert first.asker == "127.0.0.1 x"
    assert clients.come(third)
    assert clients.rename(second, "127.0.0.1 x")
    assert not clients.rename(third, "127.0.0.1 x"), "that one has enough"
    for client in (first, second, third):
        clients.go(client)
    assert len(clients) == 0
    assert clients.come(Fake("127.0.0.1 x"))


def test_new_caps_hold_for_the_next() -> None:
    clients = Clients(2, 2)
    for _ in range(2):
        clients.come(Fake("a"))
    clients.limit(1, 1)
    assert not clients.come(Fake("b"))
    clients.limit(3, 3)
    assert clients.come(Fake("b"))


def test_an_id_makes_two_of_one_address_on_loopback_only() -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1"):
        assert asker_of(address, ID) != asker_of(address, OTHER)
        assert asker_of(address, b"x" * 64) == address
    for address in ("192.0.2.7", "10.0.0.1", "fe80::1%eth0", "2001:db8::1"):
        assert asker_of(address, ID) == address
