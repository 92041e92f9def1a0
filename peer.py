#!/usr/bin/env python3
"""Starts a peer: `./peer.py --help`."""

import sys

try:
    from peer.cli import main
except ModuleNotFoundError as error:
    print(f"peer.py: {error.name} is not installed here; run this first: source environment", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    main()
