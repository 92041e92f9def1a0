"""Sizes, rates, times and addresses as people write them. M is 2^20, as everywhere here."""

import re

from shoal.errors import UsageError

# At most 15 digits: a float holds them exactly.
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(?:i?B)?(?:/s)?", re.IGNORECASE | re.ASCII)
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_HOST = re.compile(r"[^\s/@\[\]?#\\\x00-\x1f\x7f\ud800-\udfff]{1,253}")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_POWER = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_size(text: str) -> int:
    """Bytes (or bytes a second) of "100M", "2G", "1.5T", "4096".

    Raises:
        UsageError: it is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"not a size: {text!r} (examples: 4096, 100M, 2G)")
    return int(float(match[1]) * (1 << _POWER[match[2].upper()]))


def parse_time(text: str) -> float:
    """Seconds of "90", "30m", "12h", "30d".

    Raises:
        UsageError: it is not a length of time.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"not a length of time: {text!r} (examples: 90, 30m, 12h, 30d)")
    return float(match[1]) * _SECONDS[match[2]]


def show_size(size: float) -> str:
    """A number of bytes for people: "12 B", "3.4 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of "host:port" or "[v6]:port".

    Raises:
        UsageError: no host, or no port between 1 and 65535.
    """
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not _HOST.fullmatch(host) or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise UsageError(f"not an address: {text!r} (example: tracker.lab:6667)")
    return host, int(port)


def show_address(host: str, port: int) -> str:
    """The address as host:port, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
