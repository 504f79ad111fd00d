"""How errors end: two lines on stderr and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from midhaul.errors import MidhaulError

if TYPE_CHECKING:
    from collections.abc import Generator

INTERRUPTED = 130

EXTRAS = {
    "PIL": "detect",
    "ai_edge_litert": "tflite",
    "aiohttp": "serve",
    "aiomqtt": "deploy",
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
    "nltk": "wordnet",
    "numba": "deploy",
    "onnx": "learn",
    "onnxruntime": "detect",
    "paho": "deploy",
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


class Verbs(TyperGroup):
    """The verbs, with the one place where their errors become exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        with guarded(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextlib.contextmanager
def guarded(*, debug: bool) -> Generator[None]:
    """Turn what escapes from a verb into its message and its exit code."""
    try:
        yield
        sys.stdout.flush()
    except MidhaulError as error:
        _show(error, error.message, error.hint, debug=debug)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        _show(error, "interrupted", "", debug=debug)
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # Nobody reads on: end quietly, and let the interpreter flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        message = f"this needs {module}, which is not installed"
        _show(error, message, f"pip install 'midhaul[{EXTRAS[module]}]'", debug=debug)
        raise typer.Exit(3) from error


def _show(error: BaseException, message: str, hint: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"midhaul: {message}\n")
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
