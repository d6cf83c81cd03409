"""Who may call: names of this machine, its own pages, holders of a token."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession

from node.http.access import Access, Scope, check_binding, is_loopback
from node.http.app import build_app
from node.http.errors import Forbidden
from node.http.server import ApiServer
from protocol.errors import Conflict, InvalidRequest, NotAuthorised
from tests.unit.http.conftest import Serve
from tests.unit.http.fakes import ADMIN, FakeDaemon

ACCESS = Access(ADMIN, api_tokens=("one", "zwei-ü"), hosts=frozenset({"moot.example"}))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {ADMIN}", ADMIN, "Bearer wrong", "Bearer \udce4"])
def test_without_the_right_token_an_admin_route_is_refused(header: str | None) -> None:
    with pytest.raises(NotAuthorised):
        Access(ADMIN).authorise(header, Scope.ADMIN)


def test_an_empty_admin_token_opens_nothing() -> None:
    with pytest.raises(NotAuthorised):
        Access("").authorise("Bearer ", Scope.ADMIN)


def test_reading_needs_no_token_until_some_are_configured() -> None:
    Access(ADMIN).authorise("Bearer anything", Scope.USE)
    with pytest.raises(NotAuthorised):
        ACCESS.authorise("Bearer anything", Scope.USE)
    for token in ("one", "zwei-ü", ADMIN):
        ACCESS.authorise(f"bearer {token}", Scope.USE)


def test_an_api_token_may_not_do_what_the_admin_may() -> None:
    with pytest.raises(Forbidden):
        ACCESS.authorise("Bearer one", Scope.ADMIN)
    ACCESS.authorise(f"Bearer {ADMIN}", Scope.ADMIN)


def test_secrets_do_not_show_in_logs() -> None:
    assert ADMIN not in repr(ACCESS)
    assert "zwei" not in repr(ACCESS)


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8337", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.9", "[::1"]
)
def test_a_foreign_host_name_is_refused(host: str | None) -> None:
    with pytest.raises(Forbidden):
        ACCESS.check_host(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8337", "127.0.0.1:1", "[::1]:8337", "moot.example", "192.168.1.5:8337", "localhost."]
)
def test_a_name_of_this_machine_is_allowed(host: str) -> None:
    ACCESS.check_host(host, "192.168.1.5")


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1:9", "file://", "https://evil.example:8337", ""])
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        ACCESS.check_origin(origin, "127.0.0.1:8337")


def test_its_own_page_and_programs_are_allowed() -> None:
    ACCESS.check_origin("http://127.0.0.1:8337", "127.0.0.1:8337")
    ACCESS.check_origin(None, "127.0.0.1:8337")


def test_listening_beyond_loopback_wants_a_token() -> None:
    with pytest.raises(InvalidRequest, match="MOOT_API_TOKENS"):
        check_binding("0.0.0.0", Access(ADMIN))
    check_binding("0.0.0.0", ACCESS)
    check_binding("127.0.0.1", Access(ADMIN))
    assert is_loopback("::1")
    assert not is_loopback("example.org")


async def test_dns_rebinding_and_foreign_pages_get_403(client: ClientSession, daemon: FakeDaemon) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        async with client.post("/v1/consensus", json={"question": "a"}, headers=headers) as reply:
            assert reply.status == 403
        async with client.get("/v1/unknown", headers=headers) as reply:
            assert reply.status == 403
    assert daemon.council.asked == []


async def test_without_a_token_401_says_which_is_wanted(client: ClientSession) -> None:
    for path in ("/v1/tokens", "/v1/stop", "/v1/leave"):
        async with client.post(path, json={}) as reply:
            assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "admin token" in (await reply.json())["error"]["message"]


async def test_configured_tokens_guard_reading_but_not_health(serve: Serve) -> None:
    client = await serve(ACCESS)
    async with client.get("/v1/node") as reply:
        assert reply.status == 401
    async with client.get("/v1/node", headers={"Authorization": "Bearer one"}) as reply:
        assert reply.status == 200
    async with client.get("/healthz") as reply:
        assert reply.status == 200
    async with client.post("/v1/stop", headers={"Authorization": "Bearer one"}) as reply:
        assert reply.status == 403


async def test_a_taken_port_is_one_sentence(daemon: FakeDaemon) -> None:
    async with ApiServer(build_app(daemon.services()), "127.0.0.1", 0) as first:
        with pytest.raises(Conflict, match=f"Port {first.port}"):
            await ApiServer(build_app(daemon.services()), "127.0.0.1", first.port).start()


async def test_an_address_of_another_machine_is_one_sentence(daemon: FakeDaemon) -> None:
    access = Access(ADMIN, api_tokens=("one",))
    with pytest.raises(InvalidRequest, match=r"192\.0\.2\.1"):
        await ApiServer(build_app(daemon.services(access)), "192.0.2.1", 0).start()
