"""The DuckDB file that analysts open."""
