"""The archive while a share of all calls fails."""
