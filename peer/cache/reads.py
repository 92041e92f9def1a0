"""What was read last, over a restart: the contents in that order, in one small file that is written now and then.

Of what was read earlier than the last `MOST` the order is lost, and it counts as read when it came.
"""

import logging
import os
from collections.abc import Sequence

from peer.layout import Layout
from shoal.manifest import is_cid

MOST = 4096
"""Contents noted, the latest: 266 KB."""
log = logging.getLogger(__name__)


def load_reads(layout: Layout) -> list[str]:
    """The cids, the latest read last; [] if none are noted."""
    try:
        text = layout.reads.read_bytes()[: 65 * MOST].decode("ascii")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        log.info("what was read last is not known: %s", error)
        return []
    return list(dict.fromkeys(line for line in text.split("\n") if is_cid(line)))


def save_reads(layout: Layout, cids: Sequence[str]) -> None:
    """Notes them, the latest last."""
    new = layout.reads.with_name(layout.reads.name + ".new")
    try:
        new.write_text("".join(f"{cid}\n" for cid in cids[-MOST:]), "ascii")
        os.replace(new, layout.reads)
    except OSError as error:
        log.info("what was read last is not noted: %s", error)
