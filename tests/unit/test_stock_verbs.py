import pytest

from shoal.verbs.stock import NAMED, tell


def test_of_many_files_some_are_named_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    results = [{"path": f"d/{n}", "outcome": "evicted", "bytes": 1024} for n in range(NAMED + 2)]
    results += [{"path": f"e/{n}", "outcome": "later", "bytes": 1} for n in range(NAMED + 1)]
    results += [{"path": "e/open", "outcome": "open", "bytes": 1}]
    assert tell({"results": results}, as_json=False) == 1
    out, error = capsys.readouterr()
    assert out.splitlines() == [
        *(f"d/{n}: given up" for n in range(NAMED)),
        "and 2 more: given up",
        f"given up: {NAMED + 2} files, 12.0 KiB",
    ]
    later = "no tracker can tell yet whether another has all of it: it stays; try again"
    assert error.splitlines() == [
        *(f"shoal: e/{n}: {later}" for n in range(NAMED)),
        "shoal: e/open: open: it stays",
        f"shoal: and 1 more: {later}",
    ]
