"""The simulator: the archive's own code over a simulated network, disk and clock, all decided by one seed."""
