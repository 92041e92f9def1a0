"""What a tracker shows to people and programs: the rows of `/v1/files` and `/v1/peers`. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from shoal.ownership import Version
from shoal.wire import Owner
from tracker.catalogue import is_dir, shown_cid
from tracker.listing import Listing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class PeerView(Struct, frozen=True):
    """A living peer. `last_seen` is ISO 8601, UTC."""

    id: str
    name: str
    url: str
    files: int
    bytes: int
    last_seen: str


class FileView(Struct, frozen=True, omit_defaults=True):
    """One entry. `size` is None where nobody knows it; `mtime` is ISO 8601, UTC; `dir` is there for empty folders only.

    `holders` have all of it, `pinned` are those of them that keep it on purpose, `partial` have parts.
    """

    path: str
    size: int | None
    mtime: str
    x: bool
    link: str
    sha1: str
    cid: str
    owner: str | None
    owners: list[Owner]
    holders: list[str]
    pinned: list[str]
    partial: list[str]
    dir: bool = False


class FilesPage(Struct, frozen=True):
    """A page of `/v1/files`; an empty one is the last."""

    version: str
    settling: bool
    files: list[FileView]


def iso(ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601, UTC, with microseconds; years that it has not become its first or last."""
    try:
        moment = _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        moment = _FIRST if ns < 0 else _LAST
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def file_view(version: Version, owner_name: Callable[[str, str], str]) -> FileView:
    """The row of a listed version; `owner_name` is asked with (peer id, path)."""
    item = version.item
    cid = shown_cid(item)
    owners = [Owner(id, owner_name(id, item.path), version.owners[id]) for id in sorted(version.owners)]
    return FileView(
        path=item.path,
        size=item.size if cid else None,
        mtime=iso(version.mtime),
        x=item.x,
        link=item.link,
        sha1=item.sha1,
        cid=cid,
        owner=owners[0].id if owners else None,
        owners=owners,
        holders=version.holders,
        pinned=version.pinned,
        partial=version.partial,
        dir=is_dir(item),
    )


def peer_view(listing: Listing, seen_ns: int) -> PeerView:
    """The row of a living peer, last heard of at `seen_ns`, nanoseconds since 1970."""
    return PeerView(listing.id, listing.name, listing.url, listing.files, listing.bytes, iso(seen_ns))
