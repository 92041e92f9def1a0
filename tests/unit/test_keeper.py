import threading

from peer.messages import Keep
from peer.swarm.keeper import Keeper
from tests.support.patience import until


def message(cid: str, size: int) -> Keep:
    return Keep("p", cid, b"", 0, False, {}, bytes(size))


def test_what_is_outstanding_is_bounded_until_it_is_answered() -> None:
    sent: list[Keep] = []

    def keep(message: Keep) -> bool:
        sent.append(message)
        return True

    keeper = Keeper(keep, 100, threading.Event(), lambda cid: None)
    assert keeper.offer(message("a", 60))
    assert keeper.offer(message("a", 60)), "offered already"
    assert not keeper.offer(message("b", 60))
    assert keeper.offer(message("c", 40))
    until(lambda: len(sent) == 2, 2, "sent")
    keeper.answered("a")
    assert keeper.offer(message("b", 60))
    until(lambda: len(sent) == 3, 2, "sent")
    assert [keep.cid for keep in sent] == ["a", "c", "b"]
    keeper.close()
    assert not keeper.offer(message("d", 0))


def test_a_scanner_that_is_not_there_is_asked_again() -> None:
    answers = [True, False]
    sent: list[str] = []

    def keep(message: Keep) -> bool:
        sent.append(message.cid)
        return answers.pop()

    keeper = Keeper(keep, 100, threading.Event(), lambda cid: None)
    keeper.offer(message("a", 10))
    until(lambda: len(sent) == 2, 3, "sent again")
    keeper.close()


def test_closing_does_not_wait_for_a_scanner_that_is_not_there() -> None:
    closing = threading.Event()
    tried = threading.Event()

    def keep(message: Keep) -> bool:
        tried.set()
        return False

    keeper = Keeper(keep, 100, closing, lambda cid: None)
    keeper.offer(message("a", 10))
    assert tried.wait(2)
    closing.set()
    keeper.close()
