"""The media transfer against a real HTTP server."""
