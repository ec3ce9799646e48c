"""Backups and restores through the real control plane and a real Swift."""
