"""Settings as frozen dataclasses: documented fields, range checks, "did you mean".

The mechanism alone; which settings there are is `config.py`. Nothing here imports jax.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import typing
from typing import Any

from m5jax.errors import ConfigError


def setting(default: Any, doc: str, *, low: float | None = None, high: float | None = None, choices: tuple = ()) -> Any:
    """A field with its documentation and the values it may take."""
    limits = {"doc": doc, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=limits)


def section(cls: type) -> Any:
    """A field that is itself a dataclass of settings."""
    return dataclasses.field(default_factory=cls)


def to_dict(values: Any) -> dict[str, Any]:
    """The settings as nested plain dicts."""
    return {
        field.name: to_dict(value) if dataclasses.is_dataclass(value) else value
        for field in dataclasses.fields(values)
        for value in [getattr(values, field.name)]
    }


def build(cls: type, values: Any, path: str) -> Any:
    """The dataclass `cls` from nested plain values, every one of them checked.

    Raises:
      ConfigError: naming the field, the value and what is allowed.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{path} = {values!r} must be a section with fields, not a single value")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise ConfigError(f"unknown setting {path}.{name}{suggest(name, fields)}")
    hints, built = typing.get_type_hints(cls), {}
    for name, field in fields.items():
        where, hint = f"{path}.{name}", hints[name]
        if dataclasses.is_dataclass(hint):
            built[name] = build(typing.cast(type, hint), values.get(name, {}), where)
        elif name in values:
            built[name] = _checked(values[name], hint, field.metadata, where)
    return cls(**built)


def _checked(value: Any, hint: Any, limits: typing.Mapping[str, Any], path: str) -> Any:
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        # The command line gives "a,b" as one string; a config file gives a tuple or a list.
        parts = value if isinstance(value, (tuple, list)) else (value,)
        parts = [p for part in parts for p in (part.split(",") if isinstance(part, str) else [part]) if p != ""]
        return tuple(_checked(_number(p, item), item, limits, path) for p in parts)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{path} = {value!r} must be of type {hint.__name__}")
    if limits["choices"] and value not in limits["choices"]:
        choices = ", ".join(map(str, limits["choices"]))
        raise ConfigError(f"{path} = {value!r} must be one of {choices}{suggest(value, limits['choices'])}")
    low, high = limits["low"], limits["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ConfigError(f"{path} = {value!r} must be {bounds}")
    return value


def parse(cls: type, path: str, text: str) -> Any:
    """The value that a text means for the setting at a path below `cls`, for `build` to check; items joined by +.

    Raises:
      ConfigError: there is no such setting.
    """
    hint: Any = cls
    for name in path.split("."):
        hints = typing.get_type_hints(hint) if dataclasses.is_dataclass(hint) else {}
        if name not in hints:
            known = [where.partition(".")[2] for where, _, _ in describe(cls, "config")]
            raise ConfigError(f"unknown setting config.{path}{suggest(path, known)}")
        hint = hints[name]
    if typing.get_origin(hint) is tuple:
        return tuple(part.strip() for part in text.split("+"))
    return {"true": True, "false": False}.get(text.lower(), text) if hint is bool else _number(text, hint)


def _number(value: Any, hint: type) -> Any:
    """A text as the number that is asked for, if it is one; anything else as it is."""
    if hint in (int, float) and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return hint(value)
    return value


def suggest(name: Any, known: typing.Iterable[str]) -> str:
    """' (did you mean "x"?)' for the nearest of the `known` names, or nothing."""
    near = difflib.get_close_matches(str(name), list(map(str, known)), n=1, cutoff=0.5)
    return f' (did you mean "{near[0]}"?)' if near else ""


def describe(cls: type, path: str) -> list[tuple[str, Any, str]]:
    """Every setting as (path, default, documentation with its limits), in order."""
    rows: list[tuple[str, Any, str]] = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        where = f"{path}.{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            rows += describe(typing.cast(type, hints[field.name]), where)
            continue
        doc, choices = field.metadata["doc"], field.metadata["choices"]
        rows.append((where, field.default, doc + (f" [{' | '.join(map(str, choices))}]" if choices else "")))
    return rows


def digest(value: Any) -> str:
    """SHA-256 of a JSON value (dataclasses as dicts), as 64 hex digits; equal values, equal digests."""
    plain = to_dict(value) if dataclasses.is_dataclass(value) else value
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=list).encode()).hexdigest()
