"""Guests: Debian systems booted by systemd-nspawn, seen from outside."""
