"""Tests of the executions: decoding, merging, the lake, the ingest."""
