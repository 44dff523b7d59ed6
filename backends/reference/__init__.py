"""The oracle: NumPy, written to be read beside docs/semantics.md."""
