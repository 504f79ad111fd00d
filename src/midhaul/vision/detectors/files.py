"""The files that runtimes load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite"}


def model_file(location: str, *, kind: str) -> Path:
    """The file of a model, after a look at its ending.

    ConfigError if the ending is not that of the kind; DataError if there is no such
    file.
    """
    file = Path(location)
    if file.suffix.lower() != _SUFFIXES[kind]:
        message = f"{kind}: needs a file that ends in .{kind}, found {location}"
        meant = [one for one, end in _SUFFIXES.items() if end == file.suffix.lower()]
        hint = f"did you mean {meant[0]}:{location}?" if meant else ""
        raise ConfigError(message, hint)
    if not file.is_file():
        message = f"model file {file} does not exist"
        raise DataError(message, f"give the path of a .{kind} file")
    return file


def read_float(options: Mapping[str, str], key: str, default: float) -> float:
    """An option that is a number and not negative.

    ConfigError if it is something else.
    """
    text = options.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        message = f"option {key} must be a number of at least 0, found {text!r}"
        raise ConfigError(message, f"for example {key}=0.05")
    return value
