"""Tests of the recordings: lifecycle, ledger, archiving."""
