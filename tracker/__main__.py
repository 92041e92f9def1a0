"""`python -m tracker`: the same as `tracker.py`."""

from tracker.cli import main

main()
