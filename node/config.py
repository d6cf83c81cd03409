"""Typed configuration: flags > environment (`MOOT_*`, `*_FILE` for secrets) > `--config` file > user file > default.

One `Config` describes one node completely; the daemon reads nothing else. Files are TOML with the field names below.
"""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import platformdirs
from msgspec import Meta, Struct

from protocol.address import split_address
from protocol.errors import InvalidRequest
from protocol.pins import Choice

LINK_PORT = 7337
"""TCP links and UDP DHT, on one number."""
API_PORT = 8337
SECRETS = frozenset({"token", "remote_api_key"})
LISTS = frozenset({"brains", "bootstrap", "api_tokens"})

Port = Annotated[int, Meta(ge=0, le=65_535)]


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a node needs to know before it starts."""

    data_dir: Path
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    host: str = "0.0.0.0"  # noqa: S104 - links are mutually authenticated; the API binds to loopback
    port: Port = LINK_PORT
    """0: choose a free one once and remember it in the data directory."""
    advertise: str | None = None
    """HOST:PORT that others can dial, where it cannot be guessed (NAT, several interfaces)."""
    api_host: str = "127.0.0.1"
    api_port: Port = API_PORT
    api_tokens: tuple[str, ...] = ()
    """When given, every API call needs one of them (`Authorization: Bearer ...`)."""
    brains: tuple[str, ...] | None = None
    """`tiny`, `gemma`, `remote:URL#MODEL`; `none` for a node without a model. None: the best that is
    installed and fits, plus one tiny."""
    model: Path | None = None
    """A Gemma `.gguf` to use in place of the packaged 270M."""
    remote_api_key: str | None = None
    """Sent to the servers of `remote:` brains."""
    agents: Annotated[int, Meta(ge=1, le=64)] = 4
    """Agents of each brain at the start."""
    capacity: Annotated[int, Meta(ge=0, le=256)] | None = None
    """Most agents this node hosts, children included. None: as many as free memory, cores and the brains' time allow."""
    leave_on_stop: bool = False
    """SIGTERM means `moot leave`: for machines that are taken away for good."""
    division_threshold: Annotated[int, Meta(ge=1, le=1_000_000)] = 5
    tiny_mutation: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.01
    """Standard deviation of the noise on the children of `tiny:mlp` agents that begin here; it comes down with their genomes."""
    embedder: Choice | None = None
    """What the memory of a swarm that this node founds is found by (`node.memory`); None: `words`. Later, and for whoever joins, the
    founder's word stands."""
    open: bool = False
    """Found or join the swarm that anybody may join."""
    bootstrap: tuple[str, ...] = ()
    token: str | None = None

    @property
    def database(self) -> Path:
        return self.data_dir / "moot.sqlite3"


def default_data_dir() -> Path:
    """Where a node on this machine keeps its identity and database."""
    return Path(platformdirs.user_data_dir("moot", appauthor=False))


def user_config_file() -> Path:
    return Path(platformdirs.user_config_dir("moot", appauthor=False)) / "config.toml"


def load_config(flags: Mapping[str, Any], env: Mapping[str, str], config_file: Path | None = None) -> Config:
    """Merge all sources into one `Config`. A flag of None or an empty list was not given. Raises `InvalidRequest`."""
    if config_file is not None and not config_file.is_file():
        raise InvalidRequest(f"There is no configuration file {config_file}: check --config.", param="config")
    values: dict[str, Any] = {"data_dir": default_data_dir(), "name": socket.gethostname()[:64] or "node"}
    given = [(str(path), _from_file(path)) for path in (user_config_file(), config_file) if path is not None]
    given.append(("the environment (MOOT_...)", _from_environment(env)))
    given.append(("a flag", {key: value for key, value in flags.items() if value is not None and value != [] and value != ()}))
    for _, some in given:
        values |= some
    try:
        config = msgspec.convert(values, Config, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise _unusable(str(error), given) from error
    for address in (*config.bootstrap, *([config.advertise] if config.advertise else [])):
        split_address(address)
    return msgspec.structs.replace(config, data_dir=config.data_dir.expanduser().absolute())


def _unusable(said: str, given: Sequence[tuple[str, Mapping[str, Any]]]) -> InvalidRequest:
    """msgspec's sentence in ours: which setting, whose, what is wrong with it."""
    import difflib  # seldom needed, and a fiftieth of a second

    what, _, at = said.partition(" - at `$.")
    unknown = re.search(r"unknown field `(.+)`", what)
    name = unknown[1] if unknown else at.rstrip("`").partition("[")[0]
    source = next((place for place, values in reversed(given) if name in values), "the configuration")
    if unknown:
        near = difflib.get_close_matches(name, Config.__struct_fields__, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(Config.__struct_fields__)}."
        return InvalidRequest(f"There is no setting '{name}', which {source} gives: {hint}", param=name)
    return InvalidRequest(f"Setting '{name}', from {source}, is not right: {what[:1].lower()}{what[1:]}. Correct it there.", param=name)


def _decode_path(kind: type, value: object) -> Path:
    """msgspec knows no paths; files and the environment name them as text."""
    if kind is not Path or not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"expected a path, got {value!r}")
    return Path(value)


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidRequest(f"The configuration file {path} cannot be read: {error}.", param="config") from error


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """`MOOT_PORT=7400`, `MOOT_BRAINS=tiny,gemma`; `MOOT_TOKEN_FILE=/run/secrets/token` for secrets."""
    values: dict[str, Any] = {}
    for field in Config.__struct_fields__:
        key = f"MOOT_{field.upper()}"
        raw = env.get(key)
        if raw is None and field in SECRETS and (path := env.get(f"{key}_FILE")):
            try:
                raw = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise InvalidRequest(f"{key}_FILE names {path}, which cannot be read: {error.strerror}.") from error
        if raw is None or raw == "":
            continue
        values[field] = [part.strip() for part in raw.split(",") if part.strip()] if field in LISTS else raw
    return values
