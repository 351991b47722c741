"""One connection: messages sealed and numbered on the way out, judged on the way in.

Covers: the first frame of each direction, tags, sequence numbers, the peer's role, passing over what is optional. Does
not cover: what the messages mean (:mod:`.session`), how frames travel (:mod:`caligo.transports`). No I/O, no clock, no
randomness: the nonce comes with the `Hello`.

Any refusal is final: a link that has raised refuses everything after it. A new connection is a new `Link`. The error
says who is to blame: `AuthenticationError` and `ConnectionSpoiledError` are about bytes that the peer need not have
sent, any other `ProtocolError` is about something that it did say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from caligo.errors import AuthenticationError, ConnectionSpoiledError, ProtocolError
from caligo.reconciliation.authentication import Authentication, Seal
from caligo.reconciliation.messages import Hello, KeepAlive, Message, Role
from caligo.reconciliation.wire import (
    Frame,
    decode_messages,
    encode_bundles,
    encode_frame,
)

__all__ = ["MAX_IDLE_MESSAGES", "Link"]

MAX_IDLE_MESSAGES = 4096
"""Most messages in a row that say nothing (`KeepAlive`, unknown optional types): more is a flood."""

_NO_CONNECTION = bytes(16)
_HELLO_TYPE = 1


class Link:
    """One side of one connection.

    Args:
        role: whose side.
        authentication: how frames are sealed; the same on both sides.
    """

    def __init__(self, role: Role, authentication: Authentication) -> None:
        self._role = role
        self._authentication = authentication
        self._hello_frames: dict[Role, bytes] = {}
        self._seals: dict[Role, Seal] = {}
        self._connection = _NO_CONNECTION
        self._sent = self._received = 0
        self._idle = 0
        self._broken = False

    def __repr__(self) -> str:
        return f"Link({self._role.name.lower()}, sent={self._sent}, received={self._received})"

    @property
    def is_open(self) -> bool:
        """Whether both `Hello` messages have passed."""
        return bool(self._seals)

    def send(self, messages: Sequence[Message]) -> list[bytes]:
        """The frames of some messages; the first ever must be a `Hello`, and nothing follows it before the peer's.

        Args:
            messages: what to say; those about blocks and groups share frames.

        Raises:
            ProtocolError: out of order.
        """
        frames = []
        for type_, payload in encode_bundles(messages):
            is_hello = type_ == _HELLO_TYPE
            if is_hello == (self._sent > 0) or not (is_hello or self.is_open):
                raise ProtocolError(
                    f"expected a Hello first and once, got type {type_} as message {self._sent}; open the link",
                    field="sequence",
                )
            seal = self._authentication.hello_seal(self._role) if is_hello else self._seals[self._role]
            connection = _NO_CONNECTION if is_hello else self._connection
            frame = encode_frame(type_, connection, self._sent, payload, seal.tag_bytes, seal.tag)
            self._sent += 1
            if is_hello:
                self._greeted(self._role, frame)
            frames.append(frame)
        return frames

    def receive(self, frame: Frame) -> list[Message]:
        """Judge a frame of the peer.

        Args:
            frame: as it came.

        Returns:
            Its messages; none where it says nothing.

        Raises:
            AuthenticationError: the first frame has the tag of another secret, or of another kind.
            ConnectionSpoiledError: this is not what the peer said next: a wrong tag, number, connection or order.
            ProtocolError: the peer said this, and it is no message, or of the wrong role.
        """
        if self._broken:
            raise ProtocolError("expected a sound link, got one that was broken before; connect again", field="link")
        try:
            return self._judge(frame)
        except ProtocolError:
            self._broken = True
            raise

    def _judge(self, frame: Frame) -> list[Message]:
        first = self._received == 0
        if first != (frame.type == _HELLO_TYPE) or not (first or self.is_open):
            raise _spoiled("type", "a Hello as the first message and nowhere else", f"type {frame.type}")
        if first and len(frame.tag) != self._authentication.tag_bytes:
            theirs = "psk" if len(frame.tag) == 32 else "caller"
            raise AuthenticationError(
                f"authentication: expected {self._authentication.name}, got {theirs}; choose the same on both sides",
                field="authentication",
                expected=self._authentication.name,
                got=theirs,
            )
        seal = self._authentication.hello_seal(self._role.peer) if first else self._seals[self._role.peer]
        if len(frame.tag) != seal.tag_bytes or not seal.accepts(frame.sealed, frame.tag):
            if first:
                raise AuthenticationError(
                    "tag of the first message: expected another value; the pre-shared keys differ, both are Alice or "
                    "both Bob, or this is not the peer",
                    field="tag",
                )
            raise _spoiled("tag", "another value", f"message {self._received} with this one")
        if frame.connection != (_NO_CONNECTION if first else self._connection):
            raise _spoiled("connection", "this one", "another")
        if frame.sequence != self._received:
            raise _spoiled("sequence", self._received, frame.sequence)
        decoded = decode_messages(frame.type, frame.payload)
        messages: list[Message] = [
            message for message in decoded if message is not None and not isinstance(message, KeepAlive)
        ]
        if first and isinstance(messages[0], Hello):
            self._check_role(messages[0])
            self._greeted(self._role.peer, frame.sealed + frame.tag)
        self._received += 1
        self._idle = 0 if messages else self._idle + max(1, len(decoded))
        if self._idle > MAX_IDLE_MESSAGES:
            raise ProtocolError(
                f"expected something to happen, got {self._idle} messages in a row that say nothing", field="flood"
            )
        return messages

    def _check_role(self, hello: Hello) -> None:
        if hello.role is self._role:
            raise ProtocolError(
                f"role: expected {self._role.peer.name.lower()} at the other end, got {hello.role.name.lower()}; run "
                "`caligo alice` on one side and `caligo bob` on the other",
                field="role",
                got=hello.role.name.lower(),
            )

    def _greeted(self, sender: Role, frame: bytes) -> None:
        self._hello_frames[sender] = frame
        if len(self._hello_frames) < 2:
            return
        hellos = hashlib.sha256(
            b"".join(hashlib.sha256(self._hello_frames[role]).digest() for role in (Role.ALICE, Role.BOB))
        ).digest()
        self._connection = hellos[:16]
        self._seals = {role: self._authentication.connection_seal(role, hellos) for role in Role}


def _spoiled(what: str, expected: object, got: object) -> ConnectionSpoiledError:
    return ConnectionSpoiledError(
        f"{what}: expected {expected}, got {got}; something between the two sides changes, repeats or adds messages",
        field=what,
        expected=expected,
        got=got,
    )
