"""Detectors of your own: a Python function that makes one, ``python:module:factory``.

The factory is called with the options of the spec as keywords (texts), and with
``threads`` and ``seed`` where it takes them. What it gives has a ``name``, a label set
``names`` and ``detect``, see :class:`~midhaul.vision.detectors.detector.Detector`; it
is asked about one image of noise before anything else.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError, DataError, MidhaulError
from midhaul.vision.detectors.checks import check_answer, check_names, noise
from midhaul.vision.detectors.detector import Stated

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import ModuleType

    from midhaul.vision.detectors.detector import Detector

_NOISE_PX = (120, 160)


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """Nothing, as only the detector knows; its code is not run for it."""
    del options
    _parts(location)
    return Stated()


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> Detector:
    """Call the factory at ``module:factory`` or ``file.py:factory``.

    ConfigError if there is no such module or function, or it does not take the options;
    DataError if it fails, or what it gives breaks the protocol.
    """
    module_name, factory_name = _parts(location)
    factory = getattr(_module(module_name, location), factory_name, None)
    if not callable(factory):
        message = f"{module_name} has no function {factory_name!r}"
        raise ConfigError(message, "python:package.module:factory")
    told: dict[str, Any] = dict(options)
    takes = inspect.signature(factory).parameters
    told |= {k: v for k, v in {"threads": threads, "seed": seed}.items() if k in takes}
    try:
        inspect.signature(factory).bind(**told)
    except TypeError as error:
        message = f"{location} does not take these options: {error}"
        raise ConfigError(message, f"it takes {', '.join(takes) or 'none'}") from error
    with _own_words(f"{location} cannot make a detector"):
        detector: Any = factory(**told)
    with _own_words(f"what {location} makes is no detector"):
        check_names(detector)
        check_answer(detector, noise(*_NOISE_PX))
    return detector


def _parts(location: str) -> tuple[str, str]:
    module, _, factory = location.rpartition(":")
    if not module or not factory:
        message = f"a detector of your own is a module and a function, found {location}"
        raise ConfigError(message, "python:package.module:factory")
    return module, factory


def _module(name: str, location: str) -> ModuleType:
    """A module by its name, also from the working directory, or by its file."""
    if not name.endswith(".py"):
        with _here_first(), _own_words(f"{location} cannot be imported"):
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                    raise
                message = f"there is no module {name}"
                hint = "install it, or run midhaul in the folder that it is in"
                raise ConfigError(message, hint) from error
    if not Path(name).is_file():
        message = f"{name} does not exist"
        raise DataError(message, "python:FILE.py:factory")
    made = importlib.util.spec_from_file_location(Path(name).stem, name)
    if made is None or made.loader is None:
        message = f"{name} is no module of Python"
        raise DataError(message, "python:FILE.py:factory")
    module = importlib.util.module_from_spec(made)
    with _own_words(f"{location} cannot be imported"):
        made.loader.exec_module(module)
    return module


@contextmanager
def _here_first() -> Generator[None]:
    """Modules are looked for in the working directory too."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextmanager
def _own_words(what: str) -> Generator[None]:
    """A DataError that names the stranger's code, whatever it raises."""
    try:
        yield
    except MidhaulError:
        raise
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else ""
        message = f"{what}: {type(error).__name__} {first}".rstrip()
        raise DataError(message, "see midhaul.vision.detectors.checks") from error
