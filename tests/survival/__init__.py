"""What the archive outlives: kill -9 at every step, faults of its storage, a link that lapses at the worst moment."""
