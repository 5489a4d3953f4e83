"""A made-up past: years of executions and of what an archive learnt of their recordings, at any size, and the same from the same seed."""
