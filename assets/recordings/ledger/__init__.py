"""The ledger: append-only event files, and what is compacted of them."""

from assets.recordings.ledger.store import Compacted, FoldReport, Ledger

__all__ = ["Compacted", "FoldReport", "Ledger"]
