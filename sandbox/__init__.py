"""The three providers and their media hosts in one local process, for the demo, the tests and the browser.

An independent truth: it shares no code with the archive that is tested against it.
"""
