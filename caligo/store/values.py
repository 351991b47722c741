"""What may be written to a store: small JSON values, and nothing that could be a key.

Covers: the check of values on their way in, their encoding, canonical JSON and the identity hash. Does not cover:
files.

A record holds numbers, short texts, booleans, null, and lists and objects of these. Bytes and arrays are refused by
type, long texts and long lists by size, so that a key does not slip into a record by accident. Refusals name the
place of the value, never the value.

Source: RFC 8785 (JSON Canonicalization Scheme) for the identity.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from caligo.errors import ConfigError

LARGEST_INTEGER = 2**53 - 1
"""Largest magnitude of an integer that every JSON reader keeps exactly."""


@dataclass(frozen=True)
class Limits:
    """How big a value may be.

    Attributes:
        text: characters in one string.
        items: entries in one list or object.
        depth: nesting of lists and objects.
        size: bytes of the whole, encoded.
        integer: largest magnitude of an integer.
    """

    text: int
    items: int
    depth: int
    size: int
    integer: int


RECORD_LIMITS = Limits(text=256, items=1024, depth=8, size=64 * 1024, integer=LARGEST_INTEGER)
"""Limits of one record."""

DOCUMENT_LIMITS = Limits(text=4096, items=4096, depth=16, size=4 * 1024 * 1024, integer=2**64)
"""Limits of a configuration or a summary (paths are up to 4096 characters, seeds up to 64 bits)."""


def _refuse(where: str, expected: str, got: str, remedy: str) -> ConfigError:
    place = where or "the value"
    return ConfigError(
        f"cannot store {place}: expected {expected}, got {got}; {remedy}", where=where, expected=expected, got=got
    )


def _number(value: object) -> bool | int | float | None:
    """The plain Python number behind a NumPy scalar, or None."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return bool(value)
    return None


def check_value(value: object, limits: Limits, where: str = "", depth: int = 0) -> None:
    """Refuse a value that a store must not hold.

    Args:
        value: any object.
        limits: how big it may be.
        where: its place, for the message.
        depth: nesting so far.

    Raises:
        ConfigError: not JSON, not exact, not finite, or too big.
    """
    if value is None or value is True or value is False:
        return
    if isinstance(value, str):
        if len(value) > limits.text:
            raise _refuse(
                where,
                f"at most {limits.text} characters",
                f"{len(value)} characters",
                "store a digest or a count instead",
            )
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise _refuse(
                    where, "Unicode text", "text with lone surrogates", "replace the undecodable bytes first"
                ) from None
        return
    if isinstance(value, int):
        if not -limits.integer <= value <= limits.integer:
            raise _refuse(
                where, f"an integer up to {limits.integer}", "a larger one", "store it as a text of decimal digits"
            )
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refuse(where, "a finite number", str(float(value)), "store null where there is no value")
        return
    if isinstance(value, dict):
        _check_size(len(value), limits, where, depth)
        for key, entry in value.items():
            if not isinstance(key, str):
                raise _refuse(where, "text keys", f"a key of type {type(key).__name__}", "use str(key)")
            check_value(key, limits, f"a key of {where or 'the value'}", depth)
            check_value(entry, limits, f"{where}.{key}" if where else key, depth + 1)
        return
    if isinstance(value, (list, tuple)):
        _check_size(len(value), limits, where, depth)
        for index, entry in enumerate(value):
            check_value(entry, limits, f"{where}[{index}]", depth + 1)
        return
    number = _number(value)
    if number is not None:
        check_value(number, limits, where, depth)
        return
    raise _refuse(
        where,
        "a number, short text, boolean, null, list or object",
        f"a {type(value).__name__}",
        "store counts and digests, never key bits or arrays",
    )


def _check_size(count: int, limits: Limits, where: str, depth: int) -> None:
    if count > limits.items:
        raise _refuse(
            where, f"at most {limits.items} entries", f"{count}", "store one record per entry, or an aggregate"
        )
    if depth >= limits.depth:
        raise _refuse(where, f"at most {limits.depth} levels of nesting", "more", "flatten the value")


def _as_dict(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise _refuse(where, "an object (dict)", f"a {type(value).__name__}", "pass a dict of named values")


def _default(value: object) -> bool | int | float:
    number = _number(value)
    if number is None:
        raise _refuse(
            "", "a JSON value", f"a {type(value).__name__}", "store counts and digests, never key bits or arrays"
        )
    return number


_encode = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":"), default=_default).encode


@dataclass(frozen=True, slots=True)
class _Form:
    """How flat records of the same names and types are written.

    Attributes:
        names: of the members.
        kinds: their types.
        template: the text, with a place for each value; None where such records are not plainly within the limits.
        integers: gives the integers of a record's values, as a tuple.
        floats: places of the other numbers.
        texts: places of the texts.
        booleans: places of the booleans.
    """

    names: tuple[Any, ...]
    kinds: tuple[type, ...]
    template: str | None
    integers: Callable[[list[Any]], tuple[int, ...]]
    floats: tuple[int, ...]
    texts: tuple[int, ...]
    booleans: tuple[int, ...]


_MOST_FORMS = 256
_MOST_TEXTS = 1024
_forms: dict[tuple[tuple[Any, ...], tuple[type, ...]], _Form] = {}
_latest: list[_Form] = []
_plain_texts: set[str] = set()
"""Texts that were seen to stand in a record as they are: outcomes are few."""
_float_texts: dict[float, str] = {}
"""How floats are written that were seen, but for 0 and -0, which are equal: design QBERs are few."""

_SLOTS: dict[type, str] = {int: "%d", float: "%s", str: '"%s"', bool: "%s", type(None): "null%.0s"}


def _form_of(names: tuple[Any, ...], kinds: tuple[type, ...]) -> _Form:
    simple = len(names) <= 64 and all(type(name) is str and len(name) <= 64 and name.isascii() for name in names)
    template = None
    if simple and _SLOTS.keys() >= set(kinds):
        members = [
            json.dumps(name).replace("%", "%%") + ":" + _SLOTS[kind] for name, kind in zip(names, kinds, strict=True)
        ]
        template = "{" + ",".join(members) + "}"

    def places(wanted: type) -> tuple[int, ...]:
        return tuple(place for place, kind in enumerate(kinds) if kind is wanted)

    return _Form(names, kinds, template, _picked(places(int)), places(float), places(str), places(bool))


def _picked(places: tuple[int, ...]) -> Callable[[list[Any]], tuple[int, ...]]:
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def _find_form(names: tuple[Any, ...], kinds: tuple[type, ...]) -> _Form:
    form = _forms.get((names, kinds))
    if form is None:
        form = _form_of(names, kinds)
        if len(_forms) < _MOST_FORMS:
            _forms[names, kinds] = form
    _latest[:] = [form]
    return form


def _is_plain_text(text: str) -> bool:
    """Whether a text stands in JSON as it is."""
    plain = len(text) <= 256 and text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    if plain and len(_plain_texts) < _MOST_TEXTS:
        _plain_texts.add(text)
    return plain


def _float_text(value: float) -> str | None:
    """A float as JSON has it; None: it is not finite."""
    if not math.isfinite(value):
        return None
    text = repr(value)
    if value and len(_float_texts) < _MOST_TEXTS:
        _float_texts[value] = text
    return text


def _encode_flat(record: dict[Any, Any]) -> str | None:
    """The text of a flat record of a form that was seen before, in a third of the time; None: take the general way.

    Records of a run are alike: which names there are, of which types, is judged once, what stands there every time.
    """
    values = list(record.values())
    names, kinds = tuple(record), tuple(map(type, values))
    for form in _latest:
        if form.names == names and form.kinds == kinds:
            break
    else:
        form = _find_form(names, kinds)
    if form.template is None:
        return None
    # No magnitude is beyond the limit where all together are not; seldom does one have to look closer.
    integers = form.integers(values)
    if sum(map(abs, integers)) > LARGEST_INTEGER and max(map(abs, integers)) > LARGEST_INTEGER:
        return None
    for place in form.floats:
        text = _float_texts.get(values[place]) or _float_text(values[place])
        if text is None:
            return None
        values[place] = text
    for place in form.texts:
        if values[place] not in _plain_texts and not _is_plain_text(values[place]):
            return None
    for place in form.booleans:
        values[place] = "true" if values[place] else "false"
    return form.template % tuple(values)


def encode_record(record: Mapping[str, Any]) -> bytes:
    """A record as compact ASCII JSON without line ends.

    Raises:
        ConfigError: see :func:`check_value`.
    """
    flat = _encode_flat(record) if type(record) is dict else None
    if flat is None:
        if not isinstance(record, dict):
            record = _as_dict(record, "")
        check_value(record, RECORD_LIMITS)
        flat = _encode(record)
    text = flat.encode("ascii")
    if len(text) > RECORD_LIMITS.size:
        raise _refuse("", f"at most {RECORD_LIMITS.size} bytes per record", f"{len(text)}", "split the record")
    return text


def plain(value: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """A checked deep copy of a document made of plain Python values.

    An integer beyond 2^53 - 1 becomes a text of its decimal digits: JSON readers do not keep it otherwise.

    Args:
        value: configuration, summary or the like; None is the empty object.
        what: its name, for messages.

    Raises:
        ConfigError: see :func:`check_value`.
    """
    if value is None:
        return {}
    value = _as_dict(value, what)
    check_value(value, DOCUMENT_LIMITS, what)
    text = _encode(_wide_as_text(value))
    if len(text) > DOCUMENT_LIMITS.size:
        raise _refuse(what, f"at most {DOCUMENT_LIMITS.size} bytes", f"{len(text)}", "store digests of the large parts")
    copy: dict[str, Any] = json.loads(text)
    return copy


def _wide_as_text(value: object) -> object:
    if isinstance(value, dict):
        return {key: _wide_as_text(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_wide_as_text(entry) for entry in value]
    if value is None or isinstance(value, (bool, str, float)):
        return value
    number = _number(value)
    wide = isinstance(number, int) and abs(number) > LARGEST_INTEGER
    return str(number) if wide else number


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a plain value.

    Raises:
        ConfigError: the value has no canonical form.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ConfigError(f"cannot write canonical JSON: {error}; use plain finite values") from error


def run_identity(
    kind: str, configuration: Mapping[str, Any], seeds: Mapping[str, Any], excludes: Iterable[str] = ()
) -> str:
    """What makes two runs the same experiment: SHA-256 over kind, configuration and seeds.

    Neither the code version nor the machine nor security randomness is part of it.

    Args:
        kind: kind of run.
        configuration: full configuration.
        seeds: simulation seeds.
        excludes: configuration entries that do not define the experiment (threads, paths of output).

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: a value without canonical form.
    """
    left_out = frozenset(excludes)
    defining = {key: entry for key, entry in configuration.items() if key not in left_out}
    return hashlib.sha256(canonical_json({"configuration": defining, "kind": kind, "seeds": dict(seeds)})).hexdigest()
