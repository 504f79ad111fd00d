"""How errors end: two lines on stderr and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

import midhaul
from midhaul.errors import DataError, MidhaulError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Generator

INTERRUPTED = 130
_LONGEST_NAME = 200
UNFORESEEN = 70
"""EX_SOFTWARE of sysexits.h: a fault of this program, not of its input."""

# What typer raises for options that are wrong; its own, or click's in older versions.
_USAGE_ERROR: type[Exception] = next(
    one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException"
)

EXTRAS = {
    "PIL": "detect",
    "ai_edge_litert": "tflite",
    "aiohttp": "serve",
    "altair": "report",
    "azure": "azure",
    "boto3": "aws",
    "botocore": "aws",
    "cryptography": "federation",
    "cv2": "detect",
    "faster_coco_eval": "detect",
    "gymnasium": "federation",
    "highspy": "deploy",
    "httptools": "serve",
    "jinja2": "report",
    "kubernetes_validate": "deploy",
    "markupsafe": "report",
    "networkx": "network",
    "nltk": "wordnet",
    "numba": "deploy",
    "onnx": "learn",
    "onnxruntime": "detect",
    "prometheus_client": "federation",
    "psutil": "serve",
    "scapy": "federation",
    "simplejpeg": "detect",
    "sklearn": "federation",
    "torch": "learn",
    "torchvision": "learn",
    "uvicorn": "serve",
    "uvloop": "serve",
    "vl_convert": "report",
    "yaml": "detect",
}
"""The extra that brings each optional library, by the module's name."""


class UnforeseenError(MidhaulError):
    """A fault of this program; what is known of it is written down."""

    exit_code = UNFORESEEN


class Verbs(TyperGroup):
    """The verbs, with the one place where their errors become exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        with guarded(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextlib.contextmanager
def guarded(*, debug: bool) -> Generator[None]:
    """Turn what escapes from a verb into its message and its exit code."""
    # A name of a file may be no text; it is shown all the same.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except (typer.Exit, typer.Abort, _USAGE_ERROR):
        raise
    except KeyboardInterrupt as error:
        _show(error, "interrupted", "", debug=debug)
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # Nobody reads on: end quietly, and let the interpreter flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error
    except Exception as error:
        from midhaul.machine.children import was_interrupted

        if was_interrupted():  # and a library has made this of it
            _show(error, "interrupted", "", debug=debug)
            raise typer.Exit(INTERRUPTED) from error
        told = _told(error)
        _show(error, told.message, told.hint, debug=debug)
        raise typer.Exit(told.exit_code) from error


def _told(error: Exception) -> MidhaulError:
    """Any error as one that a user can mend, or report."""
    if isinstance(error, MidhaulError):
        return error
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        if module in EXTRAS:
            message = f"this needs {module}, which is not installed"
            return PrerequisiteError(
                message, f"pip install 'midhaul[{EXTRAS[module]}]'"
            )
    if isinstance(error, MemoryError):
        message = "there is not enough memory for this"
        return MidhaulError(message, "make it smaller, or give it a larger machine")
    if isinstance(error, OSError) and error.filename is not None:
        name = os.fsdecode(error.filename)[:_LONGEST_NAME]
        message = f"{name} cannot be used: {error.strerror}"
        return DataError(message, "check its name and its permissions")
    place = _keep(error)
    message = f"something unforeseen happened: {type(error).__name__}: {error}"
    hint = f"please report it with {place}" if place else "midhaul --debug shows more"
    return UnforeseenError(message, hint)


def _keep(error: Exception) -> str | None:
    """Write down what happened, for a report; where, or None where nothing can be."""
    lines = [
        f"midhaul {midhaul.__version__}, Python {sys.version}\n",
        f"{sys.argv}\n\n",
        *traceback.format_exception(error),
    ]
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="midhaul-error-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.writelines(lines)
    except OSError:
        return None
    return file.name


def _show(error: BaseException, message: str, hint: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"midhaul: {message}\n")
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
