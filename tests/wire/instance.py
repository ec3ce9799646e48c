"""Whose agent it is: identity, key, and names on the broker."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from lab import network, rabbitmq

from wire import canary


@dataclass(frozen=True)
class Instance:
    """One Trove instance. `key` None speaks clear text."""

    key: str | None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    # Of its own, so that tests with odd topologies do not meet.
    exchange: str = field(default_factory=lambda: f"trove-{uuid.uuid4().hex[:8]}")

    @classmethod
    def new(cls, *, sealed: bool = True) -> Instance:
        """A fresh instance, with a random key if it is to speak sealed."""
        return cls(canary.make("RPC key") if sealed else None)

    def with_key(self, key: str | None) -> Instance:
        """The same instance for somebody who believes in another key."""
        return replace(self, key=key)

    @property
    def topic(self) -> str:
        """Queue and routing key of the agent's requests."""
        return f"guestagent.{self.id}"

    @property
    def conductor(self) -> str:
        """Topic of this instance's own conductor."""
        return f"conductor.{self.id}"


def url(
    *,
    host: str = network.LAB_ADDRESS,
    port: int = rabbitmq.PORT,
    user: str = rabbitmq.USER,
    password: str = rabbitmq.PASSWORD,
    vhost: str = "",
    query: str = "",
) -> str:
    """A transport_url; names and passwords get percent-encoded."""
    address = f"[{host}]" if ":" in host else host
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"rabbit://{login}@{address}:{port}/{quote(vhost, safe='')}{query}"
