"""The agent's wire protocol, judged from outside.

The real binary, a real RabbitMQ, and the clients of the other side:
oslo.messaging, Trove's serializers and Trove's own guest API, unmodified.
Most agents run without a guest, in a root directory of their own (agent.py);
what needs a database runs in one booted guest (guest.py).
"""
