"""`python -m peer` is `./peer.py`."""

from peer.cli import main

main()
