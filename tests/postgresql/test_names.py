"""Names and passwords that would be something else if they were not quoted.

Straight to the agent, around the checks of Trove's API; what became of them is
seen by logging in over TCP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from oslo_messaging import RemoteError
from trove.common.exception import TroveError

from backups.steps import Owner
from lab.clients.sql import SqlDenied

# PostgreSQL's own limit, in bytes.
LONGEST = 63
NAMES = {
    "quote": "o'neil",
    "double quote": 'so"called"',
    "backslash": "back\\slash\\",
    "percent": "100%s%(name)s%%",
    "dollars": "$$; select 1; $$",
    "injection": '"; drop role postgres; --',
    "literal injection": "'; drop role postgres; --",
    "spaces": " a  b",
    "cases": "MiXed",
    "keyword": "select",
    "like a role": "public role",
    "unicode": "žluťoučký☃кот",
    "beyond 16 bits": "elephant🐘s",
    "comma, equals, at": "a=b,c@d/e:f",
    "newline and tab": "line\none\ttwo",
    "longest": "n" * LONGEST,
    "longest in bytes": "é" * 31 + "n",
}
MD5 = "md5" + hashlib.md5(b"x").hexdigest()
SCRAM = "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$" + "A" * 43 + "=:" + "B" * 43 + "="
PASSWORDS = {
    "quote": "it's",
    "two quotes": "''",
    "backslash": "\\",
    "escapes": "\\'; drop role postgres; --\\",
    "double quote": '"',
    "percent": "%s%d%(x)s%",
    "dollars": "$$ $tag$ $1",
    "spaces": " in and out ",
    "unicode": "pässwörd☃🐘",
    "newline": "two\nlines",
    # These must not be taken for what the server stores.
    "like an MD5 hash": MD5,
    "like a SCRAM verifier": SCRAM,
    "long": "x" * 900,
    "colon": "a:b@c/d?e#f",
    "null": "NULL",
    "one": "0",
}
REFUSED = {"empty": "", "too long": "n" * (LONGEST + 1), "too long in bytes": "é" * 32}
# As its answer arrives; one that never comes is another error.
AGENT_SAYS_NO = (RemoteError, TroveError)
# Whoever else is there must be there afterwards.
CANARY = "canary"


def cases() -> list[tuple[str, str]]:
    """Every name and every password at least once, together."""
    names, passwords = list(NAMES.values()), list(PASSWORDS.values())
    longer = max(len(names), len(passwords))
    pick = lambda some, n: some[n % len(some)]  # noqa: E731
    return [(pick(names, n), pick(passwords, n)) for n in range(longer)]


def user(name: str, password: str | None, *databases: str) -> dict[str, Any]:
    return {
        "_name": name,
        "_host": "%",
        "_password": password,
        "_databases": [database(each) for each in databases],
        "_is_root": False,
    }


def database(name: str) -> dict[str, Any]:
    return {"_name": name, "_character_set": None, "_collate": None}


@pytest.fixture(scope="module")
def rpc(instance: Owner) -> Any:
    return instance.lab.rpc(instance.id)


@pytest.fixture(scope="module")
def everybody(instance: Owner, rpc: Any) -> Iterator[list[tuple[str, str]]]:
    """Users with databases of the same names; all of them are deleted after."""
    before = instance.accounts(), instance.databases()
    rpc.call("create_database", databases=[database(CANARY)], timeout=60)
    pairs = cases()
    rpc.call("create_database", databases=[database(n) for n in NAMES.values()], timeout=120)
    some = [user(name, password, name) for name, password in pairs]
    rpc.call("create_user", users=some, timeout=60)
    yield pairs
    for name, _password in pairs:
        rpc.call("delete_user", user=user(name, None))
    for name in (*NAMES.values(), CANARY):
        # The first of them waits for a checkpoint of what all of them have written.
        rpc.call("delete_database", database=database(name), timeout=120)
    assert (instance.accounts(), instance.databases()) == before


def logged_in(instance: Owner, name: str, password: str, where: str) -> str:
    """Whom the server takes for logged in, after some work."""
    client = instance.login(name, password, where)
    client.execute("create table if not exists t (i int); insert into t values (1)")
    ((who, database),) = client.execute("select current_user, current_database()")
    assert database == where
    return who


def test_everybody_logs_in(instance: Owner, everybody: list[tuple[str, str]]) -> None:
    for name, password in everybody:
        assert logged_in(instance, name, password, name) == name
        with pytest.raises(SqlDenied):
            instance.login(name, password + "x", name).execute("select 1")


def test_listings(instance: Owner, rpc: Any, everybody: list[tuple[str, str]]) -> None:
    """Whole and in pages: every name as it is, in the order of code points."""
    names = {name for name, _password in everybody}
    users = instance.account_names() - {"postgres", "root"}
    assert names <= users
    for method, expected in (
        ("list_users", users),
        ("list_databases", instance.databases() - {"postgres", "template0", "template1"}),
    ):
        found, marker = rpc.call(method, limit=None, marker=None, include_marker=False)
        assert marker is None
        listed = [each["_name"] for each in found if each["_name"] != "root"]
        assert listed == sorted(expected)
        paged, marker = [], None
        while True:
            page, marker = rpc.call(method, limit=3, marker=marker, include_marker=False)
            paged += page
            if marker is None:
                break
        assert paged == found


def test_users_are_shown(rpc: Any, everybody: list[tuple[str, str]]) -> None:
    for name, _password in everybody:
        shown = rpc.call("get_user", username=name, hostname="%")
        assert (shown["_name"], shown["_host"]) == (name, "%")
        assert [each["_name"] for each in shown["_databases"]] == [name]
        assert shown["_password"] is None
        access = rpc.call("list_access", username=name, hostname="%")
        assert [each["_name"] for each in access] == [name]
    assert rpc.call("get_user", username="no'body", hostname="%") is None


def test_access(instance: Owner, rpc: Any, everybody: list[tuple[str, str]]) -> None:
    """Granted and revoked, for this user and nobody else."""
    (other, others), *_ = everybody
    for name, password in everybody[1:]:
        with pytest.raises(SqlDenied):
            logged_in(instance, name, password, CANARY)
        rpc.call("grant_access", username=name, hostname="%", databases=[CANARY])
    rpc.call("grant_access", username=other, hostname="%", databases=[CANARY])
    for name, password in everybody[1:]:
        client = instance.login(name, password, CANARY)
        client.execute("create table mine (i int); drop table mine")
        rpc.call("revoke_access", username=name, hostname="%", database=CANARY)
        with pytest.raises(SqlDenied):
            client.execute("create table mine (i int)")
        assert logged_in(instance, name, password, name) == name
    assert logged_in(instance, other, others, CANARY) == other
    with pytest.raises(AGENT_SAYS_NO):
        rpc.call("grant_access", username=other, hostname="%", databases=['no "such'])


def test_changes(instance: Owner, rpc: Any, everybody: list[tuple[str, str]]) -> None:
    """Passwords, and names there and back again."""
    for name, password in everybody:
        nexts = password[::-1] + "'2"
        change = {"name": name, "host": "%", "password": nexts}
        rpc.call("change_passwords", users=[change])
        with pytest.raises(SqlDenied):
            instance.login(name, password, name).execute("select 1")
        assert logged_in(instance, name, nexts, name) == name
        renamed = {"name": 'other "name\'s', "password": password}
        update = {"username": name, "hostname": "%"}
        rpc.call("update_attributes", **update, user_attrs=renamed)
        assert logged_in(instance, renamed["name"], password, name) == renamed["name"]
        assert name not in instance.account_names()
        update["username"] = renamed["name"]
        rpc.call("update_attributes", **update, user_attrs={"name": name})
        assert logged_in(instance, name, password, name) == name


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED.keys())
def test_impossible_names(instance: Owner, rpc: Any, name: str) -> None:
    """An error, and nothing is made under a name that somebody shortened."""
    before = instance.accounts(), instance.databases()
    with pytest.raises(AGENT_SAYS_NO):
        rpc.call("create_user", users=[user(name, "secret")])
    with pytest.raises(AGENT_SAYS_NO):
        rpc.call("create_database", databases=[database(name)])
    rename = {"name": name}
    rpc.call("create_user", users=[user("renamed", "secret")])
    try:
        with pytest.raises(AGENT_SAYS_NO):
            rpc.call(
                "update_attributes", username="renamed", hostname="%", user_attrs=rename
            )
        assert instance.login("renamed", "secret", "postgres").execute("select 1")
    finally:
        rpc.call("delete_user", user=user("renamed", None))
    assert (instance.accounts(), instance.databases()) == before


def test_no_password(instance: Owner, rpc: Any) -> None:
    """The server would take an empty one for none, and refuse it for ever."""
    with pytest.raises(AGENT_SAYS_NO):
        rpc.call("create_user", users=[user("careless", "")])
    assert "careless" not in instance.account_names()
    rpc.call("create_user", users=[user("careful", "secret")])
    try:
        empty = {"name": "careful", "host": "%", "password": ""}
        with pytest.raises(AGENT_SAYS_NO):
            rpc.call("change_passwords", users=[empty])
        assert instance.login("careful", "secret").execute("select 1") == [["1"]]
    finally:
        rpc.call("delete_user", user=user("careful", None))


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS.keys())
def test_roots_password(instance: Owner, rpc: Any, password: str) -> None:
    root = rpc.call("enable_root_with_password", root_password=password)
    assert (root["_name"], root["_password"]) == ("root", password)
    assert logged_in(instance, "root", password, "postgres") == "root"
    rpc.call("disable_root")
    with pytest.raises(SqlDenied):
        instance.login("root", password).execute("select 1")


def test_messages_give_no_password_away(
    instance: Owner, everybody: list[tuple[str, str]]
) -> None:
    """Nor does the server's own log, where refused statements end up."""
    long = [password for _name, password in everybody if len(password) > 4]
    for unit in ("trove-guestagent.service", instance.product.unit):
        text = "\n".join(instance.guest.messages(unit))
        assert text
        assert [password for password in long if password in text] == []
