"""Entropic optimal transport for the transport expert."""
