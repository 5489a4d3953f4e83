"""Claims of speed: ratios against a peer in the same run, interleaved, medians."""
