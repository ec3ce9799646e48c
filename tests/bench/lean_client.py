"""A client of the agent that costs little itself: bare AMQP, ready-made envelopes.

It seals contexts and opens results as Trove's control plane does, but one
thread keeps a window of calls in flight, so that what it sees of a round trip
is the broker and the agent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import uuid
from dataclasses import dataclass

import amqp
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lab import rabbitmq

EXCHANGE = "trove"
# Seconds; also the expiration of every request, as oslo.messaging sets it.
CALL_TIMEOUT = 60
# The version that a control plane sends with rpc_ping.
RPC_VERSION = "1.0"


class Sealer:
    """Trove's sealed strings: AES-256-CBC, the key is the hex MD5 of the text."""

    def __init__(self, key: str) -> None:
        self._key = algorithms.AES(hashlib.md5(key.encode()).hexdigest().encode())

    def seal(self, value: object) -> str:
        """JSON, PKCS#7 padding, random IV in front, base64."""
        plain = json.dumps(value).encode()
        padding = 16 - len(plain) % 16
        iv = os.urandom(16)
        encryptor = Cipher(self._key, modes.CBC(iv)).encryptor()
        sealed = encryptor.update(plain + bytes([padding]) * padding)
        return base64.b64encode(iv + sealed + encryptor.finalize()).decode()

    def open(self, text: str) -> object:
        """The value; ValueError if it was not sealed with this key."""
        data = base64.b64decode(text, validate=True)
        decryptor = Cipher(self._key, modes.CBC(data[:16])).decryptor()
        plain = decryptor.update(data[16:]) + decryptor.finalize()
        return json.loads(plain[: -plain[-1]])


@dataclass(frozen=True)
class Instance:
    """Whose agent it is, and the key its messages are sealed with."""

    id: str
    key: str

    @property
    def topic(self) -> str:
        return f"guestagent.{self.id}"


class LeanClient:
    """One connection, one reply queue, any number of calls in flight."""

    def __init__(self, instance: Instance) -> None:
        self._topic = instance.topic
        self._sealer = Sealer(instance.key)
        self._context = self._sealer.seal({"user": "bench", "request_id": "req-bench"})
        self._connection = rabbitmq.connect()
        self._channel = self._connection.channel()
        self._reply_queue = f"reply_{uuid.uuid4().hex}"
        # Before the guest's server starts, the task manager declares its queue
        # with oslo.messaging's defaults; so do we.
        self._channel.exchange_declare(EXCHANGE, "topic", durable=False, auto_delete=False)
        self._channel.queue_declare(self._topic, durable=False, auto_delete=False)
        self._channel.queue_bind(self._topic, EXCHANGE, self._topic)
        self._channel.queue_declare(self._reply_queue, exclusive=True)
        self._channel.basic_consume(self._reply_queue, no_ack=True, callback=self._receive)
        self._sent: dict[str, float] = {}
        self._latencies: list[float] = []
        self._replies: list[dict] = []

    def close(self) -> None:
        self._connection.close()

    def purge(self) -> None:
        """Forget requests that nobody has fetched."""
        self._channel.queue_purge(self._topic)

    def wait_unattended(self) -> None:
        """Wait until the broker has noticed that the agent is gone."""
        deadline = time.monotonic() + CALL_TIMEOUT
        while self._channel.queue_declare(self._topic, passive=True).consumer_count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._topic} keeps a consumer")
            time.sleep(0.05)

    def post(self, routing_key: str | None = None) -> None:
        """Send one rpc_ping; the time starts now.

        With a routing key it goes to that queue and not to the agent.
        """
        msg_id = uuid.uuid4().hex
        request = {
            "method": "rpc_ping",
            "args": {},
            "version": RPC_VERSION,
            "_msg_id": msg_id,
            "_reply_q": self._reply_queue,
            "_timeout": None,
            "_unique_id": uuid.uuid4().hex,
            "_context_context": self._context,
        }
        envelope = {"oslo.version": "2.0", "oslo.message": json.dumps(request)}
        message = amqp.Message(
            json.dumps(envelope),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            priority=0,
            application_headers={},
            expiration=str(CALL_TIMEOUT * 1000),
        )
        self._sent[msg_id] = time.monotonic()
        exchange = EXCHANGE if routing_key is None else ""
        self._channel.basic_publish(message, exchange, routing_key or self._topic)

    def _receive(self, message: amqp.Message) -> None:
        now = time.monotonic()
        reply = json.loads(json.loads(message.body)["oslo.message"])
        sent = self._sent.pop(reply["_msg_id"], None)
        if sent is None:
            raise RuntimeError(f"a reply that was not asked for: {reply}")
        self._latencies.append(now - sent)
        self._replies.append(reply)

    def wait(self) -> float:
        """Wait for the one reply that is due; when it came (CLOCK_MONOTONIC)."""
        (begun,) = self._sent.values()
        while self._sent:
            self._connection.drain_events(timeout=CALL_TIMEOUT)
        return begun + self._collect()[0]

    def call(self, count: int, in_flight: int) -> list[float]:
        """Make `count` calls, `in_flight` at any time; their times in seconds."""
        self._run(count, in_flight, None)
        return self._collect()

    def echo(self, count: int, in_flight: int) -> list[float]:
        """As `call`, but the requests come back unread: broker and client alone."""
        self._run(count, in_flight, self._reply_queue)
        self._replies.clear()
        latencies, self._latencies = self._latencies, []
        return latencies

    def _run(self, count: int, in_flight: int, routing_key: str | None) -> None:
        started = 0
        while len(self._latencies) < count:
            while started < count and len(self._sent) < in_flight:
                self.post(routing_key)
                started += 1
            self._connection.drain_events(timeout=CALL_TIMEOUT)

    def _collect(self) -> list[float]:
        """Check that every reply says what it must; the times it took."""
        for reply in self._replies:
            if reply["failure"] is not None:
                raise RuntimeError(f"rpc_ping failed: {reply['failure']}")
            if self._sealer.open(reply["result"]) is not True:
                raise RuntimeError(f"rpc_ping returned {reply['result']!r}")
        self._replies.clear()
        latencies, self._latencies = self._latencies, []
        return latencies
