"""Identity files: made once, kept private, checked when read, repaired where the node can, and explained where it cannot."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from node.keyring import Keyring
from node.testing import SimRuntime, Swarm
from protocol.errors import Conflict, NotAuthorised, NotAvailable
from protocol.identity import Credentials, open_swarm, verify_chain

DAY_S = 86_400.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtime(clock: Clock) -> SimRuntime:
    return SimRuntime("keyring", clock)


@pytest.fixture
def keyring(tmp_path: Path, runtime: SimRuntime) -> Keyring:
    return Keyring(tmp_path / "identity", runtime)


def joined(keyring: Keyring, runtime: SimRuntime, *, ttl_days: float = 30) -> Credentials:
    """A plain member's files."""
    credentials = Swarm(runtime).credentials(keyring.node_key(), ttl=timedelta(days=ttl_days))
    keyring.adopt(credentials)
    return credentials


def same(a: Credentials | None, b: Credentials) -> bool:
    return a is not None and (a.chain, a.root, a.node_id) == (b.chain, b.root, b.node_id)


def test_new_directory_has_no_membership_but_keeps_its_key(keyring: Keyring) -> None:
    assert keyring.load() is None
    assert keyring.issuer() is None
    assert keyring.node_key().public == keyring.node_key().public


def test_founder_is_a_keeper_and_finds_its_swarm_again(keyring: Keyring, runtime: SimRuntime) -> None:
    credentials = keyring.create_swarm()
    assert verify_chain(credentials.chain, credentials.root, runtime.now()).keeper
    assert same(keyring.load(), credentials)
    issuer = keyring.issuer()
    assert issuer is not None
    other = Swarm(runtime).new_key()
    chain = issuer.issue(other.public, is_keeper=False, runtime=runtime)
    assert verify_chain(chain, credentials.root, runtime.now()).node_id == other.node_id


def test_files_are_private_and_no_half_written_one_is_left(keyring: Keyring) -> None:
    keyring.create_swarm()
    assert stat.S_IMODE(keyring.directory.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keyring.directory.iterdir()}
    assert files == dict.fromkeys(["node.key", "member.crt", "root.crt", "keeper.key", "keeper.crt", "root.key"], 0o600)


def test_key_that_others_may_read_is_made_private_when_it_is_used(keyring: Keyring) -> None:
    keyring.node_key()
    path = keyring.directory / "node.key"
    path.chmod(0o644)
    keyring.node_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_second_swarm_is_not_founded_over_the_first(keyring: Keyring) -> None:
    credentials = keyring.create_swarm()
    with pytest.raises(Conflict, match="--data-dir"):
        keyring.create_swarm()
    assert same(keyring.load(), credentials)


def test_member_finds_its_membership_again(keyring: Keyring, runtime: SimRuntime) -> None:
    credentials = joined(keyring, runtime)
    assert same(keyring.load(), credentials)
    assert keyring.issuer() is None
    assert keyring.renew_own() is None


def test_expired_member_is_told_to_join_again(keyring: Keyring, runtime: SimRuntime, clock: Clock) -> None:
    joined(keyring, runtime)
    clock.now = 31 * DAY_S
    with pytest.raises(NotAuthorised, match=r"expired on 2026-07-01 .*moot token create"):
        keyring.load()


def test_expired_keeper_and_expired_open_member_renew_themselves(
    keyring: Keyring, runtime: SimRuntime, clock: Clock, tmp_path: Path
) -> None:
    founder, anybody = keyring.create_swarm(), Keyring(tmp_path / "open", runtime)
    anybody.enter_open_swarm()
    clock.now = 31 * DAY_S
    renewed, still_open = keyring.load(), anybody.enter_open_swarm()
    assert renewed is not None
    assert renewed.swarm_id == founder.swarm_id
    assert verify_chain(renewed.chain, founder.root, runtime.now()).keeper
    assert not verify_chain(still_open.chain, open_swarm()[2], runtime.now()).keeper


def test_clock_before_the_membership_is_named_as_the_cause(keyring: Keyring, runtime: SimRuntime, clock: Clock) -> None:
    joined(keyring, runtime)
    clock.now = -2 * DAY_S
    with pytest.raises(NotAvailable, match="clock"):
        keyring.load()


def test_keeper_that_lost_its_leaf_issues_it_anew(keyring: Keyring) -> None:
    founder = keyring.create_swarm()
    (keyring.directory / "member.crt").unlink()
    again = keyring.load()
    assert again is not None
    assert (again.node_id, again.swarm_id) == (founder.node_id, founder.swarm_id)


@pytest.mark.parametrize("name", ["node.key", "member.crt", "root.crt", "keeper.key", "keeper.crt"])
@pytest.mark.parametrize("damage", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None])
def test_damaged_or_missing_file_is_named_with_a_remedy(keyring: Keyring, name: str, damage: bytes | None) -> None:
    keyring.create_swarm()
    path = keyring.directory / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    if (name, damage) == ("member.crt", None):
        return
    with pytest.raises(NotAvailable, match=r"(?s)identity.*(restore it from a backup|belong)") as caught:
        keyring.load(), keyring.issuer()
    assert name in str(caught.value)


def test_files_of_two_identities_do_not_mix(keyring: Keyring, runtime: SimRuntime, tmp_path: Path) -> None:
    other = Keyring(tmp_path / "other", runtime)
    keyring.create_swarm()
    other.create_swarm()
    for name in ("node.key", "member.crt", "root.crt", "keeper.key"):
        original = (keyring.directory / name).read_bytes()
        (keyring.directory / name).write_bytes((other.directory / name).read_bytes())
        with pytest.raises(NotAvailable, match=r"do not belong together|cannot be used"):
            keyring.load(), keyring.issuer()
        (keyring.directory / name).write_bytes(original)
    assert keyring.load() is not None


def test_open_swarm_is_one_swarm_for_everybody_and_not_for_members_of_a_closed_one(
    keyring: Keyring, runtime: SimRuntime, tmp_path: Path
) -> None:
    one, two = keyring.enter_open_swarm(), Keyring(tmp_path / "two", runtime).enter_open_swarm()
    assert one.swarm_id == two.swarm_id
    assert one.node_id != two.node_id
    assert keyring.is_open()
    assert keyring.issuer() is None
    assert same(keyring.enter_open_swarm(), one)
    closed = Keyring(tmp_path / "closed", runtime)
    credentials = joined(closed, runtime)
    with pytest.raises(Conflict, match="--open"):
        closed.enter_open_swarm()
    assert same(closed.load(), credentials)


def test_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path, runtime: SimRuntime) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotAvailable, match="--data-dir"):
        Keyring(tmp_path / "file" / "identity", runtime).create_swarm()
