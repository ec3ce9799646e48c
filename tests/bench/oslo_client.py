"""The control plane's own client: oslo.messaging with Trove's serializer.

`oslo_client.py CONFIG TOPIC COUNT IN_FLIGHT` makes COUNT rpc_ping calls after
as many warm-up calls as there are threads and prints a JSON list of seconds.
The key comes in on standard input.
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import oslo_messaging
from oslo_config import cfg
from trove import rpc
from trove.common.context import TroveContext

CALL_TIMEOUT = 60


def main() -> None:
    config, topic, count, in_flight = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    cfg.CONF([f"--config-file={config}"], project="trove")
    rpc.init(cfg.CONF)
    target = oslo_messaging.Target(topic=topic, version="1.0")
    client = rpc.get_client(target, key=sys.stdin.readline().strip())
    prepared = client.prepare(timeout=CALL_TIMEOUT)
    context = TroveContext(user_id="bench", project_id="bench")
    ready = threading.Barrier(in_flight)

    def ping() -> float:
        begun = time.monotonic()
        if prepared.call(context, "rpc_ping") is not True:
            raise RuntimeError("rpc_ping returned something else than true")
        return time.monotonic() - begun

    def worker(share: int) -> list[float]:
        ping()
        ready.wait(CALL_TIMEOUT)
        return [ping() for _ in range(share)]

    shares = [count // in_flight + (n < count % in_flight) for n in range(in_flight)]
    with ThreadPoolExecutor(in_flight) as pool:
        print(json.dumps([t for times in pool.map(worker, shares) for t in times]))
    rpc.cleanup()


main()
