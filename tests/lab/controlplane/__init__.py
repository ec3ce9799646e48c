"""Trove's own services: configuration and processes."""
