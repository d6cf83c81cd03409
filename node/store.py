"""One SQLite file: everything a node must not lose, and nothing else.

WAL, `synchronous=FULL`, one writer thread that commits all waiting writes together (group commit): when `write` returns, the
change is on disk. Reads use a second connection and never wait for writers. The schema moves forward by numbered migrations.

Identity and the swarm's CA are files beside the database, not rows: a damaged database loses neither.
"""

from __future__ import annotations

import asyncio
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from node.runtime import Runtime
from protocol.errors import LocalError, NotAvailable

T = TypeVar("T")

WAITING_WRITES = 10_000
FULL_BYTES = 65_536
"""A disk with less than this left is full, whatever SQLite calls its failure."""
GROUP = 256
"""Most writes that share one commit."""

MIGRATIONS = (
    """
    CREATE TABLE contacts (node_id BLOB PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL, seen_at REAL NOT NULL) STRICT;
    CREATE TABLE records (
        key BLOB NOT NULL, author BLOB NOT NULL, subkey TEXT NOT NULL, data BLOB NOT NULL, expires_at INTEGER NOT NULL,
        PRIMARY KEY (key, author, subkey)) STRICT, WITHOUT ROWID;
    CREATE TABLE receipts (id BLOB PRIMARY KEY, saved_at REAL NOT NULL, data BLOB NOT NULL) STRICT;
    CREATE INDEX receipts_by_time ON receipts (saved_at);
    CREATE TABLE ratings (receipt BLOB NOT NULL, rater BLOB NOT NULL, score REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (receipt, rater)) STRICT, WITHOUT ROWID;
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, secret_hash BLOB NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
        uses_left INTEGER NOT NULL) STRICT;
    CREATE TABLE agents (id BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT;
    CREATE TABLE deaths (id BLOB PRIMARY KEY, at REAL NOT NULL, reason TEXT NOT NULL) STRICT;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    """,
    """
    CREATE TABLE label_projects (id TEXT PRIMARY KEY, created_at REAL NOT NULL, data BLOB NOT NULL) STRICT;
    CREATE TABLE label_batches (
        project TEXT NOT NULL, start INTEGER NOT NULL, count INTEGER NOT NULL, texts BLOB NOT NULL, vectors BLOB, node BLOB,
        PRIMARY KEY (project, start)) STRICT, WITHOUT ROWID;
    CREATE TABLE label_answers (
        project TEXT NOT NULL, row INTEGER NOT NULL, label TEXT, at REAL NOT NULL, changed INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (project, row)) STRICT, WITHOUT ROWID;
    """,
    # what a node learnt that lies in no genome: lessons to learn again, and who is believed
    """
    CREATE TABLE notes (number INTEGER PRIMARY KEY AUTOINCREMENT, brain TEXT NOT NULL, data BLOB NOT NULL) STRICT;
    CREATE INDEX notes_by_brain ON notes (brain, number);
    CREATE TABLE raters (id BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    # a labelling project that lives on every node: its charter, and corrections as their authors signed them
    """
    CREATE TABLE label_charters (project TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
    ALTER TABLE label_answers ADD COLUMN former TEXT;
    ALTER TABLE label_answers ADD COLUMN undone INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE label_answers ADD COLUMN counter INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE label_answers ADD COLUMN author BLOB NOT NULL DEFAULT x'';
    ALTER TABLE label_answers ADD COLUMN statement BLOB;
    """,
    # heads of labelling projects, and whose corrections count no more: as their authors signed them
    """
    CREATE TABLE label_heads (
        project TEXT NOT NULL, head BLOB NOT NULL, standing TEXT NOT NULL, counter INTEGER NOT NULL, at REAL NOT NULL,
        author BLOB NOT NULL, statement BLOB NOT NULL, PRIMARY KEY (project, head)) STRICT, WITHOUT ROWID;
    CREATE TABLE label_distrust (
        project TEXT NOT NULL, node BLOB NOT NULL, trusted INTEGER NOT NULL, counter INTEGER NOT NULL, at REAL NOT NULL,
        author BLOB NOT NULL, statement BLOB NOT NULL, PRIMARY KEY (project, node)) STRICT, WITHOUT ROWID;
    """,
    # how many rows of a pile each node read, none ('') those that wait: summed as they come and go, for a pile has thousands of batches
    """
    CREATE TABLE label_sizes (
        project TEXT NOT NULL, node BLOB NOT NULL, rows INTEGER NOT NULL, examples INTEGER NOT NULL,
        PRIMARY KEY (project, node)) STRICT, WITHOUT ROWID;
    INSERT INTO label_sizes SELECT project, coalesce(node, x''), coalesce(sum(count) FILTER (WHERE start >= 0), 0),
        coalesce(sum(count) FILTER (WHERE start < 0), 0) FROM label_batches GROUP BY project, coalesce(node, x'');
    """,
)


@dataclass(slots=True)
class _Write(Generic[T]):
    change: Callable[[sqlite3.Connection], T]
    done: asyncio.Future[T]
    loop: asyncio.AbstractEventLoop


class Store:
    """The node's durable state. Open it once; `close` waits for what was accepted."""

    def __init__(self, path: Path, runtime: Runtime) -> None:
        """Open or create. Raises `NotAvailable` when the file is damaged or made by a newer moot."""
        self._path = path
        self._runtime = runtime
        self._queue: queue.Queue[_Write[Any] | None] = queue.Queue(WAITING_WRITES)
        self._read_lock = threading.Lock()
        self._failure: BaseException | None = None
        try:
            self._writer = _connect(path)
            _migrate(self._writer)
            self._reader = _connect(path)
        except sqlite3.DatabaseError as error:
            raise damaged(path, error) from error
        self._thread = threading.Thread(target=self._write_loop, name="store writer", daemon=True)
        self._thread.start()

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` in a transaction and return once it is durable. A change that raises leaves no trace of itself."""
        if self._failure is not None:
            raise damaged(self._path, self._failure)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        try:
            self._queue.put_nowait(_Write(change, done, loop))
        except queue.Full:
            raise NotAvailable(f"More than {WAITING_WRITES} changes wait for the disk of {self._path}: is it full or hung?") from None
        return await done

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on the reading connection, off the event loop."""
        return await self._runtime.run_blocking(self.read_now, query)

    def read_now(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The same on this thread: for start-up."""
        with self._read_lock:
            try:
                return query(self._reader)
            except sqlite3.DatabaseError as error:
                raise damaged(self._path, error) from error

    def close(self) -> None:
        """Commit what was accepted and close; blocking."""
        self._queue.put(None)
        self._thread.join()
        self._writer.close()
        with self._read_lock:
            self._reader.close()

    def _write_loop(self) -> None:
        while True:
            first = self._queue.get()
            group: list[_Write[Any]] = []
            last = first is None
            if first is not None:
                group.append(first)
            while not last and len(group) < GROUP:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    last = True
                else:
                    group.append(item)
            if group:
                self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Write[Any]]) -> None:
        """All changes of a group in one transaction; each in a savepoint of its own."""
        outcomes: list[tuple[_Write[Any], Any, BaseException | None]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for write in group:
                outcomes.append((write, *self._apply(write.change)))
            self._writer.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._failure = error if "malformed" in str(error) or "not a database" in str(error) else None
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            failure = damaged(self._path, error)
            outcomes = [(write, None, failure) for write in group]
        for write, result, error_or_none in outcomes:
            write.loop.call_soon_threadsafe(_settle, write.done, result, error_or_none)

    def _apply(self, change: Callable[[sqlite3.Connection], T]) -> tuple[T | None, BaseException | None]:
        self._writer.execute("SAVEPOINT change")
        try:
            result = change(self._writer)
        except sqlite3.OperationalError:
            raise
        # The change belongs to the caller: whatever it raises is handed back to it, not to this thread.
        except Exception as error:  # noqa: BLE001
            self._writer.execute("ROLLBACK TO change")
            self._writer.execute("RELEASE change")
            return None, error
        self._writer.execute("RELEASE change")
        return result, None


def damaged(path: Path, error: BaseException) -> NotAvailable:
    """The sentence for a database that cannot be used. A full disk damages nothing: what was saved stays."""
    if _is_full(path, error):
        return NotAvailable(f"The disk of {path} is full: make room there. What was saved before is safe.", code="disk_full")
    return NotAvailable(
        f"The database {path} cannot be used ({error}). Stop the daemon, move that file aside and start again: "
        "the node keeps its identity and membership, which are files of their own; agents and receipts in it are lost.",
        code="database_damaged",
    )


def _is_full(path: Path, error: BaseException) -> bool:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return True
    try:
        return shutil.disk_usage(path.parent).free < FULL_BYTES
    except OSError:
        return False


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest version, one transaction a step."""
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("its integrity check fails")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise NotAvailable(f"The database was made by a newer moot (schema {version}, this one knows {len(MIGRATIONS)}): update moot.")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version={number}; COMMIT;")
    if connection.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
        raise LocalError("a migration did not take")
