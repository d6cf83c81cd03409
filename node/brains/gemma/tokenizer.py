"""Gemma's tokenizer, rebuilt from the vocabulary inside a GGUF file.

A GGUF file carries the pieces, scores and types of the SentencePiece model it was converted from, but not the model file. This
module writes that file again (`sentencepiece_model.proto`: byte-pair encoding with byte fallback, no dummy prefix, white space
kept as it is) and hands it to the `sentencepiece` library.

The turn markers stay CONTROL pieces: text that spells `<start_of_turn>` is encoded as ordinary characters, so a question cannot
forge a turn. `Tokenizer.start_of_turn` and `end_of_turn` are the ids that a prompt inserts itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import sentencepiece

from protocol.errors import NotAvailable

_UNKNOWN: Final = 2
_KNOWN_TYPES: Final = frozenset(range(1, 7))
_TURN_MARKERS: Final = (b"<start_of_turn>", b"<end_of_turn>")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _piece(text: bytes, score: bytes, kind: int) -> bytes:
    """`ModelProto.SentencePiece`: piece = 1, score = 2 (float), type = 3."""
    return _bytes(1, _bytes(1, text) + b"\x15" + score + _number(3, kind))


class Vocabulary:
    """The checked vocabulary of a GGUF file: equally long pieces, scores and types, and the special ids."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.pieces: Sequence[bytes] = metadata.get("tokenizer.ggml.tokens", [])
        scores, kinds = (metadata.get(f"tokenizer.ggml.{key}") for key in ("scores", "token_type"))
        size = len(self.pieces)
        if metadata.get("tokenizer.ggml.model") != "llama" or not isinstance(self.pieces, list) or size < 4:
            raise NotAvailable("The model file has no SentencePiece vocabulary: choose a Gemma 3 .gguf file with --model.")
        if not all(isinstance(part, np.ndarray) and part.shape == (size,) for part in (scores, kinds)):
            raise NotAvailable("The model file's vocabulary is incomplete: download it again or choose another with --model.")
        self.scores = np.asarray(scores).astype("<f4")
        self.kinds: list[int] = np.asarray(kinds).tolist()
        self.bos, self.eos, self.unknown, self.padding = (
            self._special(metadata, name, usual) for name, usual in (("bos", 2), ("eos", 1), ("unknown", 3), ("padding", 0))
        )
        if not _KNOWN_TYPES.issuperset(self.kinds):
            raise NotAvailable(
                "The model file's vocabulary has pieces of an unknown type: convert it again or choose another with --model."
            )

    def _special(self, metadata: Mapping[str, Any], name: str, usual: int) -> int:
        found = metadata.get(f"tokenizer.ggml.{name}_token_id", usual)
        if not isinstance(found, int) or not 0 <= found < len(self.pieces):
            raise NotAvailable(f"The model file names no valid {name} token: download it again or choose another with --model.")
        return found

    def model_proto(self) -> bytes:
        """The SentencePiece model file. The unknown piece must be typed UNKNOWN, whatever the GGUF says."""
        kinds = list(self.kinds)
        kinds[self.unknown] = _UNKNOWN
        scores = self.scores.tobytes()
        out = []
        for index, (text, kind) in enumerate(zip(self.pieces, kinds, strict=True)):
            score = scores[4 * index : 4 * index + 4]
            size = len(text)
            # A quarter of a million pieces: the usual short ones are written in one step (the same bytes as `_piece`).
            out.append(b"\n%c\n%c%b\x15%b\x18%c" % (size + 9, size, text, score, kind) if size < 100 else _piece(text, score, kind))
        trainer = _number(3, 2) + _number(4, len(self.pieces)) + _number(35, 1)  # model_type BPE, vocab_size, byte_fallback
        for field, special in ((40, self.unknown), (41, self.bos), (42, self.eos), (43, self.padding)):
            trainer += _number(field, special)
        for field, special in ((45, self.unknown), (46, self.bos), (47, self.eos), (48, self.padding)):
            trainer += _bytes(field, self.pieces[special])
        # Normaliser: identity, no dummy prefix, keep extra white space, escape white space.
        normaliser = _bytes(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
        return b"".join(out) + _bytes(2, trainer) + _bytes(3, normaliser)


class Tokenizer:
    """Text <-> token ids. `encode` adds no special ids."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        vocabulary = Vocabulary(metadata)
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.model_proto())
        except (RuntimeError, OSError) as error:
            raise NotAvailable("The model file's vocabulary cannot be used: download it again or choose another with --model.") from error
        self.size = len(vocabulary.pieces)
        self.bos = vocabulary.bos
        self.eos = vocabulary.eos
        self.padding = vocabulary.padding
        markers = {text: index for index, text in enumerate(vocabulary.pieces) if text in _TURN_MARKERS}
        self.start_of_turn = markers.get(_TURN_MARKERS[0])
        self.end_of_turn = markers.get(_TURN_MARKERS[1])

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`; halves of surrogate pairs, which no UTF-8 has, become question marks."""
        ids: list[int] = self._processor.EncodeAsIds(text.encode("utf-8", "replace").decode("utf-8"))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; control pieces are dropped."""
        text: str = self._processor.DecodeIds(list(ids))
        return text
