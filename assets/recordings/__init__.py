"""The lifecycle of a recording, its ledger, and the archiving of one."""
