"""A made-up past: years of executions, and what an archive learnt of their recordings; the same seed makes the same past."""
