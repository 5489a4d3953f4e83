"""The tests: a folder for each part of the house, a file for each behaviour."""
