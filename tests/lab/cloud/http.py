"""The little web framework under the services: routes, tokens, errors."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Token:
    """Who asks, for which project, with which roles."""

    id: str
    user: str
    user_id: str
    project: str
    project_id: str
    roles: tuple[str, ...]


@dataclass
class Request:
    """One HTTP request after routing."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes
    token: Token | None = None

    def json(self) -> dict[str, Any]:
        """The body as an object; 400 if it is not one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            raise HttpError(400, "Malformed request body") from None
        if not isinstance(value, dict):
            raise HttpError(400, "Malformed request body")
        return value

    def argument(self, name: str) -> str | None:
        """The first value of a query argument."""
        return self.query.get(name, [None])[0]


@dataclass
class Response:
    """What a handler returns; `body` other than bytes becomes JSON."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class HttpError(Exception):
    """An error answer, worded; the service decides its shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Handler = Callable[..., Response]


def route(
    methods: str, path: str, *, public: bool = False
) -> Callable[[Handler], Handler]:
    """Mark a method of a Service as the handler of a path.

    `{name}` in the path matches one segment and becomes a keyword argument.
    Everything but `public` needs a valid token.
    """
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "$")

    def mark(handler: Handler) -> Handler:
        routes = getattr(handler, "routes", [])
        handler.routes = [*routes, (methods.split(), pattern, public)]  # type: ignore[attr-defined]
        return handler

    return mark


class Service:
    """One OpenStack service below its own path prefix."""

    prefix: ClassVar[str] = ""

    def __init__(self) -> None:
        self._routes = [
            (*entry, getattr(self, name))
            for name in dir(type(self))
            for entry in getattr(getattr(type(self), name), "routes", [])
        ]
        # Fixed paths before those with a variable part in the same place.
        self._routes.sort(key=lambda entry: entry[1].groups)

    def error(self, status: int, message: str) -> Response:
        """The service's own way to say no."""
        return Response(status, {"error": {"code": status, "message": message}})

    def dispatch(self, request: Request, path: str) -> Response:
        """Find the handler of `path` (without prefix) and call it."""
        allowed = False
        for methods, pattern, public, handler in self._routes:
            if match := pattern.match(path):
                if request.method not in methods:
                    allowed = True
                    continue
                if not public and request.token is None:
                    return self.error(
                        401, "The request you have made requires authentication."
                    )
                arguments = {k: unquote(v) for k, v in match.groupdict().items()}
                try:
                    return handler(request, **arguments)
                except HttpError as error:
                    return self.error(error.status, str(error))
        if allowed:
            return self.error(405, f"{request.method} is not allowed here.")
        return self.error(404, f"{request.path} is not known to this cloud.")


class Cloud(ThreadingHTTPServer):
    """Serves all services on one port, as a devstack does."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        services: list[Service],
        find_token: Callable[[str], Token | None],
    ) -> None:
        super().__init__(address, _Handler)
        self.services = services
        self.find_token = find_token
        self.log_lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Route one request."""
        path = request.path.rstrip("/")
        for service in self.services:
            if path == service.prefix or path.startswith(service.prefix + "/"):
                token = request.headers.get("X-Auth-Token")
                request.token = self.find_token(token) if token else None
                return service.dispatch(request, path[len(service.prefix) :])
        return Response(404, {"error": {"code": 404, "message": "no such service"}})

    def log(self, line: str) -> None:
        """One line of access log."""
        with self.log_lock:
            print(time.strftime("%H:%M:%S"), line, flush=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def _serve(self) -> None:
        begun = time.monotonic()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        request = Request(self.command, url.path, query, self.headers, body)
        try:
            response = self.server.answer(request)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            response = Response(
                500, {"error": {"code": 500, "message": "The lab's cloud failed."}}
            )
        self._send(response)
        elapsed = (time.monotonic() - begun) * 1000
        self.server.log(
            f"{self.command} {self.path} {response.status} {elapsed:.0f} ms"
        )

    def _send(self, response: Response) -> None:
        body = response.body
        if body is None:
            data = b""
        elif isinstance(body, bytes):
            data = body
        else:
            data = json.dumps(body).encode()
            response.headers.setdefault("Content-Type", "application/json")
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("x-openstack-request-id", f"req-{uuid.uuid4()}")
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and response.status not in (204, 304):
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """The server writes its own access log."""
