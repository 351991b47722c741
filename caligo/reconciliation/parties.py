"""Alice and Bob of one-way reconciliation, without I/O: messages in, messages out.

Covers: what each side computes from its own blocks and the other side's messages, and nothing else it could not know.
Neither sees the other's key: a program that holds both keys (`caligo reconcile`) passes each side its own. Does not
cover: where blocks come from (:mod:`caligo.jobs`), how messages travel, randomness (the hash key is handed in).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caligo.channel import Qbers
from caligo.reconciliation.codecs import Codec, DecodedBatch
from caligo.reconciliation.messages import Disclosure, Tag, Verdict
from caligo.reconciliation.verification import Payload, tags_agree

__all__ = ["Alice", "Bob"]


class Alice:
    """The side whose key is the reference.

    Args:
        codec: code and encoder, public; may be shared with other threads.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def disclose(self, blocks: NDArray[np.uint8]) -> Disclosure:
        """Compute what Bob needs to decode.

        Args:
            blocks: her blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload.
        """
        frozen_values, check_values = self._codec.syndrome(blocks)
        return Disclosure(frozen_values, check_values)

    @staticmethod
    def tag(hash_key: bytes, payload: Payload) -> Tag:
        """Compute the tag of those of her blocks in a group that Bob said he decoded.

        Args:
            hash_key: 32 bytes, public, drawn after both keys were fixed.
            payload: her blocks, joined.
        """
        return Tag(payload.tag(hash_key))

    @staticmethod
    def block_tags(hash_key: bytes, payload: Payload) -> list[Tag]:
        """Compute the tags of the blocks of a group whose tags differ.

        Args:
            hash_key: 32 bytes, as for `tag`.
            payload: her blocks, joined.
        """
        return [Tag(tag) for tag in payload.block_tags(hash_key)]


class Bob:
    """The side that corrects its key.

    Args:
        codec: code and decoder; may be shared with other threads.
        qber: error rate the decoder assumes, 0 < qber < 0.5, or a pair; public, what the code was designed for.
    """

    def __init__(self, codec: Codec, qber: Qbers) -> None:
        self._codec = codec
        self._qber = qber

    def decode(self, disclosure: Disclosure, blocks: NDArray[np.uint8]) -> DecodedBatch:
        """Decode his blocks to hers.

        Args:
            disclosure: what Alice sent for these blocks.
            blocks: his blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload.

        Returns:
            Decoded blocks, and for each whether it passed its check.
        """
        return self._codec.decode(blocks, disclosure.frozen_values, disclosure.check_values, self._qber)

    def decode_soft(self, disclosure: Disclosure, llr: NDArray[np.float32]) -> DecodedBatch:
        """Decode to her blocks what he knows of each bit.

        Args:
            disclosure: what Alice sent for these blocks.
            llr: ln P(0)/P(1) of her bits by what he has, float32 `[B, N]`.

        Returns:
            Decoded blocks, and for each whether it passed its check.
        """
        return self._codec.decode_soft(llr, disclosure.frozen_values, disclosure.check_values)

    @staticmethod
    def verify(hash_key: bytes, payload: Payload, tag: Tag) -> Verdict:
        """Compare the tag of his decoded blocks of a group with hers.

        Args:
            hash_key: 32 bytes, the same as Alice used.
            payload: his decoded blocks, joined.
            tag: Alice's.
        """
        return Verdict(tags_agree(payload.tag(hash_key), tag.value))

    @staticmethod
    def tell_apart(hash_key: bytes, payload: Payload, tags: Sequence[Tag]) -> list[bool]:
        """Which blocks of a group whose tags differ are right: those whose own tags agree, unless that is all of them.

        Args:
            hash_key: 32 bytes, the same as Alice used.
            payload: his decoded blocks, joined.
            tags: Alice's, of each block.
        """
        agreeing = [
            tags_agree(mine, theirs.value) for mine, theirs in zip(payload.block_tags(hash_key), tags, strict=True)
        ]
        return [False] * len(agreeing) if all(agreeing) else agreeing
