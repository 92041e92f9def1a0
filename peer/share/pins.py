"""Pins: paths of files and folders that are kept on purpose, with all that is, or comes, beneath them. Pure."""

from collections.abc import Container


def covers(pins: Container[str], path: str) -> bool:
    """Whether a path or a folder above it is pinned; "" is the root."""
    return pinned_by(pins, path) is not None


def pinned_by(pins: Container[str], path: str) -> str | None:
    """The pin, of the path itself or of the nearest folder above, or None."""
    while path not in pins:
        if not path:
            return None
        path = path.rpartition("/")[0]
    return path
