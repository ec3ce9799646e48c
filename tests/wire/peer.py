"""The other side, byte by byte: bare AMQP with envelopes made here.

For what oslo.messaging's client would not send, and for counting what it would
not show: every reply that arrives is kept. Sealing is Trove's own code.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

import amqp
from trove.common import crypto_utils

from lab import rabbitmq

from wire import canary
from wire.instance import Instance

CALL_SECONDS = 15


def seal(value: object, key: str) -> str:
    """One sealed string."""
    sealed = crypto_utils.encrypt_data(json.dumps(value), key)
    return crypto_utils.encode_data(sealed)


def unseal(text: str, key: str) -> Any:
    """What is in a sealed string; ValueError for another key's."""
    return json.loads(crypto_utils.decrypt_data(crypto_utils.decode_data(text), key))


def context() -> dict:
    """A request context as Trove has it, with a token that nobody may log."""
    token = canary.make("token")
    return {"user": "wire", "project_id": "wire", "auth_token": token, "request_id": "req-wire"}


def envelope(payload: object) -> bytes:
    """Version 2.0: the payload is a JSON text inside."""
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(payload)}).encode()


class Peer:
    """One connection and one reply queue. Use it from one thread."""

    def __init__(self, instance: Instance, **more_context: object) -> None:
        self.instance = instance
        self.connection = rabbitmq.connect()
        self.channel = self.connection.channel()
        self.reply_queue = f"reply_{uuid.uuid4().hex}"
        self.replies: dict[str, list[dict]] = {}
        self.listen(self.reply_queue)
        self._context = context() | more_context

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def listen(self, queue: str) -> None:
        """Declare a reply queue as oslo.messaging does, and take what comes."""
        self.channel.queue_declare(
            queue, durable=False, auto_delete=False, arguments={"x-expires": 1800000}
        )
        self.channel.basic_consume(queue, no_ack=True, callback=self._receive)

    def _receive(self, message: amqp.Message) -> None:
        assert message.properties["content_type"] == "application/json"
        outer = json.loads(message.body)
        assert outer["oslo.version"] == "2.0"
        reply = json.loads(outer["oslo.message"])
        assert set(reply) == {"result", "failure", "ending", "_msg_id", "_unique_id"}
        assert reply["ending"] is True
        self.replies.setdefault(reply["_msg_id"], []).append(reply)

    def request(self, method: str, arguments: dict | None = None, **fields: object) -> dict:
        """The payload of a call; `fields` replace or add to it, None removes."""
        key = self.instance.key
        arguments = arguments or {}
        payload: dict[str, object] = {
            "method": method,
            "args": {name: seal(v, key) for name, v in arguments.items()} if key else arguments,
            "version": "1.0",
            "_msg_id": uuid.uuid4().hex,
            "_reply_q": self.reply_queue,
            "_timeout": None,
            "_unique_id": uuid.uuid4().hex,
        }
        if key:
            payload["_context_context"] = seal(self._context, key)
        else:
            payload |= {f"_context_{name}": value for name, value in self._context.items()}
        payload |= fields
        return {k: v for k, v in payload.items() if v is not None or k == "_timeout"}

    def publish(
        self, body: bytes, *, exchange: str | None = None, key: str | None = None, **changes: Any
    ) -> None:
        """Publish a body with the properties of a call, or changed ones."""
        properties = {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "delivery_mode": 2,
            "priority": 0,
            "application_headers": {},
            "expiration": str(CALL_SECONDS * 1000),
            **changes,
        }
        message = amqp.Message(body, **{k: v for k, v in properties.items() if v is not None})
        self.channel.basic_publish(
            message,
            self.instance.exchange if exchange is None else exchange,
            key or self.instance.topic,
        )

    def post(self, method: str, arguments: dict | None = None, **fields: object) -> str:
        """Send a call; its message id."""
        payload = self.request(method, arguments, **fields)
        self.publish(envelope(payload))
        return str(payload["_msg_id"])

    def drain(self, done: Callable[[], bool], timeout: float = CALL_SECONDS) -> None:
        """Take what arrives until `done`."""
        deadline = time.monotonic() + timeout
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the reply did not come")
            try:
                self.connection.drain_events(timeout=left)
            except (socket.timeout, TimeoutError):
                continue

    def wait(self, msg_id: str, timeout: float = CALL_SECONDS) -> dict:
        """The first reply to a call."""
        self.drain(lambda: msg_id in self.replies, timeout)
        return self.replies[msg_id][0]

    def result(self, msg_id: str, timeout: float = CALL_SECONDS) -> Any:
        """The opened result of a call that succeeded."""
        reply = self.wait(msg_id, timeout)
        assert reply["failure"] is None, reply["failure"]
        key = self.instance.key
        return unseal(reply["result"], key) if key else reply["result"]

    def call(self, method: str, arguments: dict | None = None, **fields: object) -> Any:
        """Send a call and wait for its result."""
        return self.result(self.post(method, arguments, **fields))

    def failure(self, method: str, arguments: dict | None = None, **fields: object) -> dict:
        """Send a call that must fail; the failure."""
        reply = self.wait(self.post(method, arguments, **fields))
        assert reply["failure"] is not None and reply["result"] is None, reply
        return json.loads(reply["failure"])

    def ping(self) -> None:
        """A round trip, to know that everything before it was taken."""
        assert self.call("rpc_ping") is True
