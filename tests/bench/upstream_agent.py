"""Starts upstream's guest agent as its own entry point does.

Everything is upstream's: configuration, account and volume at the start,
manager, RPC server, serializer, periodic tasks. Only Docker is not there: the
client object is a real one, but is told its API version instead of asking a
daemon for it, which is all the start and rpc_ping want of Docker.
"""

import functools

import docker

# The API version of Docker 24; with a version the client does not connect.
docker.from_env = functools.partial(docker.from_env, version="1.43")

from trove.cmd import guest  # noqa: E402  (its import chain must find ours)

guest.main()
