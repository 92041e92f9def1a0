"""A peer of the first protocol against the tracker: written from that protocol's description alone."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.support.cluster import Cluster
from tests.support.patience import until

pytestmark = pytest.mark.real
TTL = 2.0


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    with Cluster() as cluster:
        yield cluster.tracker("--ttl", str(TTL), "--refresh", "0.5").url.rstrip("/")


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def refresh(tracker: str, peer: str, files: dict[str, bytes]) -> int:
    named = {name: sha1(data) for name, data in files.items()}
    return requests.post(f"{tracker}/refresh", json={"PEER": peer, "files": named}, timeout=5).status_code


def listing(tracker: str) -> dict[str, dict[str, object]]:
    answer = requests.get(f"{tracker}/", timeout=5)
    assert answer.headers["Content-Type"].startswith("application/json")
    found: dict[str, dict[str, object]] = answer.json()
    return found


def find(tracker: str, name: str) -> dict[str, object]:
    found: dict[str, object] = requests.get(f"{tracker}/", params={"q": name}, timeout=5).json()
    return found


def test_what_a_peer_refreshes_others_find(tracker: str) -> None:
    assert refresh(tracker, "127.0.0.1:5001", {"one.txt": b"one", "both.txt": b"both"}) == 204
    assert refresh(tracker, "127.0.0.1:5002", {"both.txt": b"both"}) == 204
    all_files = listing(tracker)
    assert all_files["one.txt"] == {"sha1": sha1(b"one"), "peers": ["127.0.0.1:5001"]}
    assert all_files["both.txt"]["sha1"] == sha1(b"both")
    assert sorted(all_files["both.txt"]["peers"]) == ["127.0.0.1:5001", "127.0.0.1:5002"]  # type: ignore[arg-type]
    assert find(tracker, "one.txt") == all_files["one.txt"]
    assert find(tracker, "nowhere.txt") == {}


def test_what_is_not_refreshed_is_forgotten(tracker: str) -> None:
    refresh(tracker, "127.0.0.1:5003", {"brief.txt": b"x", "kept.txt": b"y"})
    refresh(tracker, "127.0.0.1:5003", {"kept.txt": b"y"})
    assert find(tracker, "brief.txt") == {}
    assert find(tracker, "kept.txt")["peers"] == ["127.0.0.1:5003"]
    until(lambda: find(tracker, "kept.txt") == {}, TTL + 5, "a peer that fell silent is forgotten")


def test_a_host_name_that_nobody_can_resolve(tracker: str) -> None:
    assert refresh(tracker, "box.no-such-domain.example:5004", {"named.txt": b"x"}) == 204
    assert find(tracker, "named.txt")["peers"] == ["127.0.0.1:5004"]


def test_somebody_elses_address(tracker: str) -> None:
    assert refresh(tracker, "192.0.2.55:80", {"evil.txt": b"x"}) == 403
    assert refresh(tracker, "169.254.169.254:80", {"evil.txt": b"x"}) == 403
    assert find(tracker, "evil.txt") == {}


def test_names_with_a_slash_are_found_and_not_listed(tracker: str) -> None:
    assert refresh(tracker, "127.0.0.1:5005", {"dir/deep.txt": b"x", "flat.txt": b"y"}) == 204
    names = listing(tracker)
    assert "flat.txt" in names
    assert not any("/" in name for name in names)
    assert find(tracker, "dir/deep.txt")["sha1"] == sha1(b"x")


def test_names_of_all_kinds(tracker: str) -> None:
    files = {'quo"te': b"1", "späce é.txt": b"2", "<b>&amp;": b"3", "日本": b"4", "?q=&#": b"5", "{}": b"6"}
    assert refresh(tracker, "127.0.0.1:5006", files) == 204
    names = listing(tracker)
    for name, data in files.items():
        assert names[name]["sha1"] == sha1(data)
        assert find(tracker, name)["sha1"] == sha1(data)


def test_a_name_that_cannot_be_a_path_costs_the_peer_that_file_only(tracker: str) -> None:
    assert (
        refresh(tracker, "127.0.0.1:5009", {"../../etc/x": b"x", "/abs": b"x", "a\x1bb": b"x", "fine.txt": b"y"}) == 204
    )
    assert find(tracker, "fine.txt")
    for name in ("../../etc/x", "/abs", "a\x1bb", "etc/x", "abs"):
        assert find(tracker, name) == {}
    listed = requests.get(f"{tracker}/v1/files", timeout=5).json()["files"]
    assert {row["path"] for row in listed if "127.0.0.1:5009" in str(row) or row["path"] == "fine.txt"} == {"fine.txt"}


def test_a_browser_gets_a_page(tracker: str) -> None:
    answer = requests.get(f"{tracker}/", headers={"Accept": "text/html"}, timeout=5)
    assert answer.headers["Content-Type"].startswith("text/html")
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        answer = requests.get(f"{tracker}/", headers={"Accept": accept}, timeout=5)
        assert answer.headers["Content-Type"].startswith("application/json")


def test_two_peers_and_a_download_as_described(tracker: str) -> None:
    """One uploader, one downloader: refresh, query, get, check the SHA-1, share on."""
    data = b"bytes of the file" * 1000

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            refresh(tracker, f"localhost:{server.server_port}", {"shared.bin": data})
            found = find(tracker, "shared.bin")
            (uploader,) = found["peers"]  # type: ignore[misc]
            got = requests.get(f"http://{uploader}/shared.bin", timeout=5).content
            assert sha1(got) == found["sha1"]
            refresh(tracker, "127.0.0.1:5007", {"shared.bin": got})
            assert len(find(tracker, "shared.bin")["peers"]) == 2  # type: ignore[arg-type]
        finally:
            server.shutdown()
            serving.join()


def test_our_listing_has_it_without_cid_and_size(tracker: str) -> None:
    refresh(tracker, "127.0.0.1:5008", {"seeded.txt": b"x"})
    answer = requests.get(f"{tracker}/v1/files", params={"prefix": "seeded"}, timeout=5).json()
    (row,) = answer["files"]
    assert (row["cid"], row["size"], row["sha1"]) == ("", None, sha1(b"x"))
    assert [owner["id"] for owner in row["owners"]] == row["holders"] == [row["owner"]]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'{"PEER":1}', b'{"PEER":"a:1","files":{"../x":"00"}}', b"\xff\xfe", b"[" * 500_000],
    ids=range(8),
)
def test_hostile_bodies_are_bad_requests(tracker: str, body: bytes) -> None:
    answer = requests.post(f"{tracker}/refresh", data=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]
