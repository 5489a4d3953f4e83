"""Looking after what is archived: reading it back, mending it, and proving the audit trail."""
