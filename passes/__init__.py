"""The passes, each in the file of its name."""
