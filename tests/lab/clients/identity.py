"""Tokens of the lab's accounts; the caller must be inside the lab's network."""

from __future__ import annotations

from typing import Any

import requests

from lab.cloud.keystone import Account
from lab.controlplane.config import CLOUD

URL = f"{CLOUD}/identity/v3/auth/tokens"


def token(account: Account) -> str:
    """A new token for the account's own project."""
    user = {
        "name": account.name,
        "password": account.password,
        "domain": {"id": "default"},
    }
    project = {"name": account.project, "domain": {"id": "default"}}
    login = {"methods": ["password"], "password": {"user": user}}
    auth: dict[str, Any] = {"identity": login, "scope": {"project": project}}
    answer = requests.post(URL, json={"auth": auth}, timeout=10)
    answer.raise_for_status()
    return answer.headers["X-Subject-Token"]


def revoke(token_id: str) -> None:
    """End a token at once."""
    headers = {"X-Auth-Token": token_id, "X-Subject-Token": token_id}
    answer = requests.delete(URL, headers=headers, timeout=10)
    answer.raise_for_status()
