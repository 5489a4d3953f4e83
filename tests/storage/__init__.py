"""The contract of the storage, run against every backend."""
