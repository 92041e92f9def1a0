#!/usr/bin/env python3
"""Runs the tracker; see `./tracker.py --help`."""

import sys

try:
    from tracker.cli import main
except ImportError as error:
    print(f"tracker.py: {error.name} is not installed: source environment first", file=sys.stderr)
    sys.exit(2)

main()
