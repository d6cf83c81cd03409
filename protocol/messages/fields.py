"""Field types that messages share: every length and range is bounded here or where it is used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Id = Annotated[bytes, Meta(min_length=20, max_length=20)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Name = Annotated[str, Meta(max_length=64)]
Address = Annotated[str, Meta(max_length=255)]
Reason = Annotated[str, Meta(max_length=512)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
