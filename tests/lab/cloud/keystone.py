"""Identity v3: password and token authentication, token validation.

S3 requests are signed with a key that only identity knows: Swift sends what was
signed and the signature, and is told whose it is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from lab.cloud.http import HttpError, Request, Response, Service, Token, route

DOMAIN = {"id": "default", "name": "Default"}
REGION = "RegionOne"
LIFETIME = timedelta(hours=12)


@dataclass(frozen=True)
class Account:
    """A user with the project it belongs to."""

    name: str
    password: str
    project: str
    roles: tuple[str, ...]

    @property
    def id(self) -> str:
        return identifier("user", self.name)

    @property
    def s3_access(self) -> str:
        """Access key of the account's EC2 credential."""
        return f"{self.name}-access"

    @property
    def s3_secret(self) -> str:
        """Its secret key."""
        return f"{self.name}-secret-key"


def identifier(kind: str, name: str) -> str:
    """A stable id in Keystone's form."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{kind}.lab.test").hex


def signature(secret: str, signed: str) -> str:
    """AWS's signature, version 4, of a string to sign; its third line is the scope."""
    key = f"AWS4{secret}".encode()
    for part in signed.split("\n")[2].split("/"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()


ACCOUNTS = {
    account.name: account
    for account in (
        Account("trove", "trove-service-pw", "service", ("admin", "service")),
        Account("admin", "admin-pw", "admin", ("admin", "member", "reader")),
        Account("demo", "demo-pw", "demo", ("member", "reader")),
        Account("alt", "alt-pw", "alt", ("member", "reader")),
    )
}
PROJECTS = {
    account.project: identifier("project", account.project)
    for account in ACCOUNTS.values()
}


class Keystone(Service):
    """Issues random tokens and keeps them in memory."""

    prefix = "/identity"

    def __init__(self, base: str, endpoints: dict[str, str]) -> None:
        """`endpoints`: service type to URL; `{project_id}` is filled in."""
        super().__init__()
        self._base = base + self.prefix
        self._endpoints = endpoints
        self._tokens: dict[str, tuple[Token, datetime]] = {}

    def _new_token(self, account: Account, project: str) -> Token:
        token = Token(
            id="gAAAAA" + secrets.token_urlsafe(60),
            user=account.name,
            user_id=account.id,
            project=project,
            project_id=PROJECTS[project],
            roles=account.roles,
        )
        self._tokens[token.id] = (token, datetime.now(timezone.utc) + LIFETIME)
        return token

    def find(self, token_id: str) -> Token | None:
        """The token if it was issued here and has not expired."""
        token, expires = self._tokens.get(token_id, (None, None))
        if token is None or expires is None or expires < datetime.now(timezone.utc):
            return None
        return token

    def error(self, status: int, message: str) -> Response:
        titles = {401: "Unauthorized", 404: "Not Found", 400: "Bad Request"}
        error = {
            "code": status,
            "message": message,
            "title": titles.get(status, "Error"),
        }
        headers = (
            {"WWW-Authenticate": f'Keystone uri="{self._base}"'}
            if status == 401
            else {}
        )
        return Response(status, {"error": error}, headers)

    def _version(self) -> dict[str, Any]:
        return {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self._base}/v3/"}],
            "media-types": [
                {
                    "base": "application/json",
                    "type": "application/vnd.openstack.identity-v3+json",
                }
            ],
        }

    @route("GET", "", public=True)
    def versions(self, _request: Request) -> Response:
        return Response(300, {"versions": {"values": [self._version()]}})

    @route("GET", "/v3", public=True)
    def version(self, _request: Request) -> Response:
        return Response(200, {"version": self._version()})

    @route("POST", "/v3/auth/tokens", public=True)
    def issue(self, request: Request) -> Response:
        auth = request.json()["auth"]
        account = self._authenticate(auth["identity"])
        project = self._project(auth.get("scope"), account)
        token = self._new_token(account, project)
        return Response(201, self._body(token), {"X-Subject-Token": token.id})

    def _authenticate(self, identity: dict[str, Any]) -> Account:
        if "password" in identity["methods"]:
            user = identity["password"]["user"]
            for account in ACCOUNTS.values():
                if user.get("name") == account.name or user.get("id") == account.id:
                    if user["password"] == account.password:
                        return account
        elif "token" in identity["methods"]:
            if token := self.find(identity["token"]["id"]):
                return ACCOUNTS[token.user]
        raise HttpError(401, "The request you have made requires authentication.")

    @staticmethod
    def _project(scope: Any, account: Account) -> str:
        wanted = scope.get("project", {}) if isinstance(scope, dict) else {}
        for name, project_id in PROJECTS.items():
            if wanted.get("name") == name or wanted.get("id") == project_id:
                if name != account.project and "admin" not in account.roles:
                    raise HttpError(401, f"{account.name} has no role in {name}.")
                return name
        if wanted:
            raise HttpError(401, "The project does not exist.")
        return account.project

    @route("GET HEAD", "/v3/auth/tokens")
    def validate(self, request: Request) -> Response:
        token = self.find(request.headers.get("X-Subject-Token", ""))
        if token is None:
            raise HttpError(404, "The token is not known or has expired.")
        return Response(200, self._body(token), {"X-Subject-Token": token.id})

    @route("DELETE", "/v3/auth/tokens")
    def revoke(self, request: Request) -> Response:
        self._tokens.pop(request.headers.get("X-Subject-Token", ""), None)
        return Response(204)

    @route("POST", "/v3/s3tokens")
    def s3_token(self, request: Request) -> Response:
        """Whose signature (version 4) that is; Swift's s3token asks."""
        given = request.json()["credentials"]
        signed = base64.urlsafe_b64decode(given["token"]).decode()
        for account in ACCOUNTS.values():
            if account.s3_access == given["access"]:
                expected = signature(account.s3_secret, signed)
                if hmac.compare_digest(expected, given["signature"]):
                    token = self._new_token(account, account.project)
                    return Response(200, self._body(token))
        raise HttpError(401, "The signature does not match.")

    @route("GET", "/v3/projects")
    @route("GET", "/v3/auth/projects")
    def projects(self, request: Request) -> Response:
        name = request.argument("name")
        return Response(
            200,
            {
                "projects": [self._view(p) for p in PROJECTS if name in (None, p)],
                "links": {},
            },
        )

    @route("GET", "/v3/projects/{project_id}")
    def project(self, _request: Request, project_id: str) -> Response:
        for name, known in PROJECTS.items():
            if known == project_id:
                return Response(200, {"project": self._view(name)})
        raise HttpError(404, f"Could not find project: {project_id}.")

    @staticmethod
    def _view(name: str) -> dict[str, Any]:
        domain = {"domain_id": DOMAIN["id"], "enabled": True, "is_domain": False}
        return {"id": PROJECTS[name], "name": name, **domain}

    def _body(self, token: Token) -> dict[str, Any]:
        expires = self._tokens[token.id][1]
        return {
            "token": {
                "methods": ["password"],
                "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "issued_at": (expires - LIFETIME).strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "audit_ids": [token.id[6:28]],
                "user": {
                    "id": token.user_id,
                    "name": token.user,
                    "domain": DOMAIN,
                    "password_expires_at": None,
                },
                "project": {
                    "id": token.project_id,
                    "name": token.project,
                    "domain": DOMAIN,
                },
                "is_domain": False,
                "roles": [
                    {"id": identifier("role", r), "name": r} for r in token.roles
                ],
                "catalog": self._catalog(token.project_id),
            }
        }

    def _catalog(self, project_id: str) -> list[dict[str, Any]]:
        return [
            {
                "type": kind,
                "name": kind,
                "id": identifier("service", kind),
                "endpoints": [
                    {
                        "id": identifier(interface, kind),
                        "interface": interface,
                        "region": REGION,
                        "region_id": REGION,
                        "url": url.format(project_id=project_id),
                    }
                    for interface in ("public", "internal", "admin")
                ],
            }
            for kind, url in self._endpoints.items()
        ]
