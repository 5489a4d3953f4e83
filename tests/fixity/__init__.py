"""The audit, the rebuild, and what they find in an archive that was harmed."""
