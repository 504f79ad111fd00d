"""What an ONNX model makes of an image on its way to an answer, averaged over places.

Any output of the model can be taken, or any tensor inside of it, by name. The picture
is prepared as the model's card says, see ``midhaul.vision.detectors.card``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from midhaul.errors import DataError, require
from midhaul.federation.features.statistics import check_images
from midhaul.vision.detectors.card import find_card
from midhaul.vision.detectors.geometry import InputBuffer
from midhaul.vision.detectors.onnx import open_session
from midhaul.vision.images.codecs import decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float32

    from midhaul.federation.recordings.problem import Recording
    from midhaul.npz_state import State
    from midhaul.vision.detectors.card import Card

Pooling = Literal["mean", "max"]

_N_AXES_OF_MAP = 4
_NAMES_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxEmbedding:
    """Numbers from inside of a model; see :func:`load_embedding`.

    Attributes:
        file: the model.
        output: name of the tensor that is taken.
        pooling: how its places become one.
        card: how pictures are prepared.
        names: names of the columns.
    """

    is_of_images = True
    file: Path
    output: str
    pooling: Pooling
    card: Card
    names: tuple[str, ...]
    _session: Any = field(repr=False)

    def extract(
        self, recording: Recording, images: Sequence[bytes] = ()
    ) -> Float32[np.ndarray, "n d"]:
        """See :class:`midhaul.federation.features.base.FeatureExtractor`."""
        check_images(recording, images)
        buffer = InputBuffer(self.card)
        found = np.zeros((len(images), len(self.names)), np.float32)
        for row, (item, data) in enumerate(zip(recording.items, images, strict=True)):
            array, _ = buffer.fill(decode(data, where=item))
            found[row] = _run(self._session, self.output, array, self.pooling)
        return np.nan_to_num(found, posinf=0.0, neginf=0.0)

    def state(self) -> State:
        """See :class:`midhaul.federation.features.base.FeatureExtractor`."""
        return {
            "kind": "embedding",
            "file": str(self.file),
            "output": self.output,
            "pooling": self.pooling,
            "card": asdict(self.card),
        }


def load_embedding(
    file: Path,
    output: str = "",
    *,
    pooling: Pooling = "mean",
    card: Card | None = None,
    threads: int = 1,
) -> OnnxEmbedding:
    """Load a model to describe images with.

    Args:
        file: an ONNX model with one input.
        output: an output, or a tensor inside of the model, which needs the library
            ``onnx``; the first output when empty.
        pooling: ``mean`` or ``max`` over places: over the two axes of a map
            ``(1, c, h, w)``, and over all axes but the last otherwise.
        card: how pictures are prepared; looked up for the file when None.
        threads: CPU threads that inference may use.

    Raises:
        DataError: the file is no such model, has no such tensor or does not fit its
            card.
        PrerequisiteError: ``onnx`` is needed and missing.
    """
    if not file.is_file():
        message = f"{file} does not exist"
        raise DataError(message, "name the ONNX file of a model")
    found = find_card(file) if card is None else card
    session = open_session(str(file), file, threads)
    known = [str(one.name) for one in session.get_outputs()]
    output = output or known[0]
    if output not in known:
        session = open_session(_tapped(file, output), file, threads)
    try:
        height, width = found.input_height or 64, found.input_width or 64
        array, _ = InputBuffer(found).fill(np.zeros((height, width, 3), np.uint8))
        width_of = len(_run(session, output, array, pooling))
    except Exception as error:  # the library's own errors share no public base
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{file} cannot be fed as the card of {found.name} says: {first}"
        raise DataError(message, "correct input size, layout or dtype") from error
    stem = f"{file.stem}:{output}"
    return OnnxEmbedding(
        file=file,
        output=output,
        pooling=pooling,
        card=found,
        names=tuple(f"{stem}[{i}]" for i in range(width_of)),
        _session=session,
    )


def _run(
    session: Any, output: str, array: np.ndarray, pooling: Pooling
) -> Float32[np.ndarray, " d"]:
    """One tensor for one picture, its places pooled."""
    name = session.get_inputs()[0].name
    tensor = np.asarray(session.run([output], {name: array})[0], np.float32)
    pool = np.mean if pooling == "mean" else np.max
    if tensor.ndim == _N_AXES_OF_MAP:
        return pool(tensor, axis=(2, 3)).ravel()
    return pool(tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1), axis=0)


def _tapped(file: Path, tensor: str) -> bytes:
    """The model with one more output."""
    onnx: Any = require("onnx", "learn")
    model = onnx.load(str(file))
    inside = [name for node in model.graph.node for name in node.output if name]
    if tensor not in inside:
        some = ", ".join(inside[-_NAMES_SHOWN:])
        message = f"{file} has no output or inner tensor {tensor!r}"
        raise DataError(message, f"the last of its tensors are {some}")
    model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return model.SerializeToString()
