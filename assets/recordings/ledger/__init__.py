"""The ledger: append-only event files, and what is compacted of them."""

from assets.recordings.ledger.folding import FoldReport
from assets.recordings.ledger.store import Ledger

__all__ = ["FoldReport", "Ledger"]
