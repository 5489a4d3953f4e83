"""Metadata in: every execution of every provider as typed rows, a day a partition, without ever losing a row or a fact."""
