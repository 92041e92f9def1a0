"""The verbs of the `shoal` command, by what they are about. Each asks a peer and tells what it said."""
