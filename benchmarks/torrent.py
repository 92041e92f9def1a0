"""libtorrent as one peer of a swarm: a seed that has the file, or a reader that gets it.

python -m benchmarks.torrent make FILE TORRENT
python -m benchmarks.torrent seed|get TORRENT DIRECTORY PEER-ADDRESS…

Says `ready` when it listens; a reader begins when a line comes in, and says `done` when all of it is there and checked.
Ends when its input does. TCP only, as Shoal; each knows all the others' addresses, so it needs no tracker; nobody is
choked, which is faster here than the eight slots that libtorrent has by itself. All else is as libtorrent has it.
"""

import sys
import time

import libtorrent as lt

PORT = 6881
SETTINGS = {
    "listen_interfaces": f"0.0.0.0:{PORT}",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "unchoke_slots_limit": -1,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
}


def make(file: str, torrent: str) -> None:
    """Writes the torrent of one file, with pieces of 256 KiB and SHA-1, as Shoal has them."""
    made = lt.create_torrent(lt.list_files(file), 256 << 10, lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, file.rpartition("/")[0])
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def run(seeds: bool, torrent: str, directory: str, peers: list[str]) -> None:
    """Seeds until the input ends, or gets the file when a line comes, and then seeds."""
    session = lt.session(SETTINGS)
    wanted = lt.load_torrent_file(torrent)
    wanted.save_path = directory
    wanted.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
    if seeds:
        wanted.flags |= lt.torrent_flags.seed_mode
        handle = session.add_torrent(wanted)
    while not session.is_listening():
        time.sleep(0.01)
    print("ready", flush=True)
    if not seeds:
        sys.stdin.readline()
        handle = session.add_torrent(wanted)
    for peer in peers:
        handle.connect_peer((peer, PORT))
    while not handle.status().is_seeding:
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.torrent_error_alert | lt.file_error_alert):
                sys.exit(str(alert))
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        run(sys.argv[1] == "seed", sys.argv[2], sys.argv[3], sys.argv[4:])
