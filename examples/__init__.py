"""Shoal at work, told step by step: `make demo`. May import `shoal` and `tests.support`; nothing imports it."""
