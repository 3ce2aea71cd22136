"""Settings as a person reads them: all in force as TOML, wrong ones as one line each; secrets never."""

import json
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from config.settings import Settings


def complaints(error: ValidationError) -> list[str]:
    """`section.field = value: limit`, the value left out where the setting is a secret."""
    lines = []
    for one in error.errors(include_url=False):
        path = tuple(str(level) for level in one["loc"])
        shown = "…" if _is_secret(path) else repr(one["input"])
        lines.append(f"setting {'.'.join(path)} = {shown}: {one['msg']}")
    return lines


def _is_secret(path: tuple[str, ...]) -> bool:
    model: Any = Settings
    for level in path:
        field = getattr(model, "model_fields", {}).get(level)
        if field is None:
            return True  # unknown: it may be a secret with a slip in its name
        model = field.annotation
    return "SecretStr" in str(model)


def toml(settings: Settings) -> list[str]:
    plain, sections = [], []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            sections += [
                "",
                f"[{name}]",
                *(_line(key, getattr(value, key)) for key in type(value).model_fields),
            ]
        else:
            plain.append(_line(name, value))
    return plain + sections


def _line(name: str, value: Any) -> str:
    """An unset value is a comment: TOML has no null."""
    if value is None:
        return f"# {name} is not set"
    if isinstance(value, SecretStr):
        return f"{name} = {_quoted('…' if value.get_secret_value() else '')}"
    if isinstance(value, bool | int | float):
        return f"{name} = {str(value).lower()}"
    return f"{name} = {_quoted(str(value))}"


def _quoted(text: str) -> str:
    """A TOML basic string; JSON escapes the same characters the same way."""
    return json.dumps(text, ensure_ascii=False)
