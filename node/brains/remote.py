"""Any OpenAI-compatible server as a brain: Ollama, vLLM, llama.cpp, or another moot.

Text comes from `POST /chat/completions`. To choose, the server is asked for one of the choices verbatim, with the likeliest tokens at
each place (`remote_logprobs.py`): one reply says how likely each choice is. A server that returns no log-probabilities is asked `SAMPLES`
times instead; a reply that is not exactly one choice is not counted, and smoothed frequencies are the log-probabilities. Blocking, as
the brain contract wants: the agent host runs it in a worker thread. What a server sends is bounded in size and time and never trusted
further than as text.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import math
import random
import re
import socket
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from node.brains.base import REST, Ask, Brain, Capabilities, Choice, Genome, Progress, Proposal
from node.brains.edits import edited, mixed, persona_of, reworded
from node.brains.remote_logprobs import TOP, Logprobs, likelihoods
from protocol.errors import InvalidRequest, NotAvailable

SAMPLES: Final = 5
SMOOTHING: Final = 0.5
"""Added to every choice's count (Jeffreys' prior): five equal samples are not certainty."""
MAX_REPLY: Final = 1_048_576
"""Bytes of a server's reply."""
REPLY_S: Final = 60.0
"""Whole seconds of one call, connection included."""
MODELS_S: Final = 5.0
PARALLEL: Final = 4
"""Calls under way at once; servers batch them."""
_CHUNK: Final = 65_536

T = TypeVar("T")


class _Message(Struct):
    content: Annotated[str, Meta(max_length=MAX_REPLY)] | None = None


class _Choice(Struct):
    message: _Message
    logprobs: msgspec.Raw = msgspec.Raw(b"null")
    """Read only when they were asked for: servers have several forms of them."""


class _Usage(Struct):
    prompt_tokens: Annotated[int, Meta(ge=0)] = 0
    completion_tokens: Annotated[int, Meta(ge=0)] = 0


class _Completion(Struct):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: _Usage | None = None


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class _Job:
    """One chat completion to ask for."""

    messages: list[dict[str, str]]
    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class _Reply:
    """One chat completion."""

    text: str
    logprobs: Logprobs | None
    usage: _Usage


class _Refused(Exception):
    """The server does not take a request for log-probabilities."""


class RemoteBrain(Brain):
    """One model behind one server. A genome starts as a sampling temperature, so that agents of one model differ a little; children
    may have a persona and solved examples beside it."""

    capabilities = Capabilities(kinds=frozenset({"choice", "boolean", "number", "text"}), instruct=True, divides=True, rest=REST)

    def __init__(self, url: str, model: str, monotonic: Callable[[], float], api_key: str = "") -> None:
        """`url` is the server's base, for example http://127.0.0.1:11434 (`/v1` is added where no path is given).

        Raises `InvalidRequest` when it is no http or https address or the model is missing.
        """
        self._scheme, self._host, self._port, self._path = _parse(url)
        if not model:
            raise InvalidRequest(f"remote:{url} names no model: write remote:{url}#MODEL.", param="brain")
        self.place = self._host
        self.outside = not _on_this_machine(self._host)
        self._url = f"{self._scheme}://{self._host}:{self._port}{self._path}"
        self._model = model
        self._monotonic = monotonic
        self._api_key = api_key
        self._gives_logprobs = True
        """Until it was seen not to."""
        self.name = f"remote:{model}"[:64]
        self.family = self.name
        self.fingerprint = hashlib.sha256(f"remote 1 {self._url} {model}".encode()).hexdigest()

    def load(self, progress: Progress) -> None:
        """See that the server answers and has the model. Raises `NotAvailable`."""
        progress(f"asking {self._url} for its models", 0.0)
        status, body = self._call("GET", "/models", None, MODELS_S)
        if status in (404, 405):  # a server without a list is found out at the first question
            return
        self._expect_success(status, body)
        names = [model.id for model in _decoded(body, _Models, self._url).data]
        if self._model not in names:
            there = ", ".join(names[:10]) or "no model at all"
            raise NotAvailable(f"The server {self._url} has no model '{self._model}': it has {there}.", code="model_not_found")
        progress("ready", 1.0)

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """What its log-probabilities say of the choices, else frequencies of `SAMPLES` replies. An agent whose replies were no choice at
        all gets empty log-probabilities: no opinion."""
        said: list[list[str]] = [[] for _ in asks]
        if self._gives_logprobs:
            first = self._with_logprobs(asks)
            places = [reply.logprobs for reply in first if reply.logprobs is not None and reply.logprobs.content]
            if first and len(places) == len(first):
                return [_likely(ask.choices, one) for ask, one in zip(asks, places, strict=True)]
            self._gives_logprobs = False
            said = [[reply.text] for reply in first] or said
        more = SAMPLES - len(said[0]) if said else 0
        replies = [reply.text for reply in self._complete([_job_of(ask) for ask in asks for _ in range(more)])]
        return [_frequencies(ask.choices, [*said[at], *replies[at * more : (at + 1) * more]]) for at, ask in enumerate(asks)]

    def _with_logprobs(self, asks: Sequence[Ask]) -> list[_Reply]:
        """Nothing when the server refuses to give them."""
        try:
            return self._complete([_job_of(ask, logprobs=True) for ask in asks])
        except _Refused:
            return []

    def propose(self, asks: Sequence[Ask], *, max_tokens: int, temperature: float, stop: Sequence[str] = ()) -> list[Proposal]:
        """One text per ask; the server's own log-probability is not asked for and stands as 0."""
        jobs = [
            _Job(_messages(ask, ask.question), temperature if ask.temperature is None else ask.temperature, max_tokens, tuple(stop)[:4])
            for ask in asks
        ]
        replies = self._complete(jobs)
        return [Proposal(reply.text, 0.0, reply.usage.prompt_tokens, reply.usage.completion_tokens) for reply in replies]

    def seed(self, rng: random.Random) -> Genome:
        return Genome(self.name, settings={"temperature": round(rng.uniform(0.5, 0.9), 2)})

    def mutate(self, genome: Genome, rng: random.Random) -> Genome:
        return edited(genome, rng, self.reword)

    def cross(self, genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
        return mixed(genome, other, rng)

    def reword(self, text: str) -> str | None:
        return reworded(self, text)

    def _complete(self, jobs: Sequence[_Job]) -> list[_Reply]:
        with ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix=self.name) as threads:
            return list(threads.map(self._completion, jobs))

    def _completion(self, job: _Job) -> _Reply:
        request: dict[str, Any] = {
            "model": self._model,
            "messages": job.messages,
            "temperature": job.temperature,
            "max_tokens": job.max_tokens,
        }
        if job.stop:
            request["stop"] = job.stop
        if job.logprobs:
            request |= {"logprobs": True, "top_logprobs": TOP}
        status, body = self._call("POST", "/chat/completions", msgspec.json.encode(request), REPLY_S)
        if job.logprobs and status in (400, 422):
            raise _Refused
        self._expect_success(status, body)
        reply = _decoded(body, _Completion, self._url)
        first = reply.choices[0]
        logprobs = _logprobs(first.logprobs) if job.logprobs else None
        return _Reply((first.message.content or "").strip(), logprobs, reply.usage or _Usage())

    def _call(self, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
        """Status and body. Raises `NotAvailable` when the server cannot be reached, is too slow or says too much."""
        kind = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        deadline = self._monotonic() + timeout
        connection = kind(self._host, self._port, timeout=timeout)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        try:
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            return response.status, self._read(response, connection, deadline)
        except TimeoutError as error:
            raise NotAvailable(f"The server {self._url} did not answer within {timeout:.0f} s: is it overloaded?") from error
        except (OSError, http.client.HTTPException) as error:
            raise NotAvailable(f"The server {self._url} cannot be reached ({error}): is it running, and is the address right?") from error
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float) -> bytes:
        """The whole body under one deadline; a socket's own timeout starts anew with every byte that drips in."""
        body = b""
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_REPLY:
                raise NotAvailable(f"The server {self._url} sent more than {MAX_REPLY} bytes: choose another model or server.")
            left = deadline - self._monotonic()
            if left <= 0:
                raise TimeoutError
            if isinstance(connection.sock, socket.socket):
                connection.sock.settimeout(left)
        return body

    def _expect_success(self, status: int, body: bytes) -> None:
        if status in (401, 403):
            raise NotAvailable(f"The server {self._url} refused the API key: set MOOT_REMOTE_API_KEY.", code="remote_unauthorised")
        if status != 200:
            said = body[:200].decode("utf-8", "replace")
            raise NotAvailable(f"The server {self._url} answered {status} for model '{self._model}': {said}")


def _parse(url: str) -> tuple[str, str, int, str]:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"'{url}' is not a server's address ({error}): write http://HOST:PORT.", param="brain") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise InvalidRequest(f"'{url}' is not a server's address: write http://HOST:PORT or https://HOST/v1.", param="brain")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/") or "/v1"


def _job_of(ask: Ask, *, logprobs: bool = False) -> _Job:
    """A choice to ask for."""
    return _Job(_messages(ask, _with_choices(ask.question, ask.choices)), _temperature(ask.genome), 32, logprobs=logprobs)


def _on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: it may be any machine's
        return False


def _decoded(body: bytes, kind: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotAvailable(f"The server {url} does not speak the OpenAI API ({error}): check the address.") from error


def _logprobs(data: msgspec.Raw) -> Logprobs | None:
    """None for what is not of the form that OpenAI's have: the reply itself still counts."""
    try:
        return msgspec.json.decode(data, type=Logprobs | None)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _messages(ask: Ask, question: str) -> list[dict[str, str]]:
    """Persona and system text, then the examples as earlier turns, then the question."""
    system = "\n".join(part for part in (persona_of(ask.genome), ask.system) if part)
    messages = [{"role": "system", "content": system}] if system else []
    for example in ask.examples:
        messages.append({"role": "user", "content": _with_choices(example.question, example.choices)})
        messages.append({"role": "assistant", "content": example.answer})
    return [*messages, {"role": "user", "content": question}]


def _with_choices(question: str, choices: Sequence[str]) -> str:
    if not choices:
        return question
    lines = "\n".join(f"- {choice}" for choice in choices)
    return f"{question}\n\nAnswer with exactly one of these, word for word, and nothing else:\n{lines}"


def _frequencies(choices: tuple[str, ...], replies: Sequence[str]) -> Choice:
    """Smoothed log frequencies; the prior is unknown to a server's client and stands as uniform."""
    by_form = {_form(choice): index for index, choice in enumerate(choices)}
    counts = Counter(by_form[form] for reply in replies if (form := _form(reply)) in by_form)
    if not counts:
        return Choice((), ())
    total = counts.total() + SMOOTHING * len(choices)
    uniform = -math.log(len(choices))
    return Choice(tuple(math.log((counts[index] + SMOOTHING) / total) for index in range(len(choices))), (uniform,) * len(choices))


def _likely(choices: tuple[str, ...], logprobs: Logprobs) -> Choice:
    """What the places of one reply say of the choices; nothing where none of them is a choice."""
    found = likelihoods([choice.casefold() for choice in choices], logprobs)
    uniform = -math.log(len(choices))
    return Choice(tuple(found), (uniform,) * len(choices)) if found else Choice((), ())


def _form(text: str) -> str:
    """What is compared: case, outer quotes, a list's dash and a final full stop do not matter."""
    return re.sub(r"^[\s\-\"'`*]+|[\s\"'`*.]+$", "", text).casefold()


def _temperature(genome: Genome) -> float:
    value = genome.settings.get("temperature")
    return min(max(float(value), 0.0), 2.0) if isinstance(value, int | float) else 0.7
