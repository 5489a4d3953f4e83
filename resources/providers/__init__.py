"""One module for each provider, behind the protocol of :mod:`resources.providers.protocol`."""
