"""The lab: a real Trove control plane and real guests on one machine.

RabbitMQ, Trove's three services, their database and an OpenStack cloud made of
one HTTP process live in a network namespace of their own. Every server that
Trove asks this cloud for is a Debian system booted by systemd-nspawn, with our
agent as its systemd unit. See README.md in this directory.
"""
