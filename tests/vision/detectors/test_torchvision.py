"""torchvision's detectors by name, and their export to ONNX."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midhaul.errors import ConfigError, DataError, PrerequisiteError
from midhaul.model import Detections
from midhaul.vision.detectors.checks import check_detector
from midhaul.vision.detectors.detector import caveat, load_detector, short_name, stated

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)
torchvision_shim = importlib.import_module("tests.support.torchvision_shim")
torchvision_shim.install()

from midhaul.vision.detectors import export  # noqa: E402
from midhaul.vision.detectors import torchvision as runtime  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

NAME = "ssdlite320_mobilenet_v3_large"
TWO_STAGE = "fasterrcnn_mobilenet_v3_large_320_fpn"


def lively_weights(name: str, file: Path) -> Path:
    """A state dict of random weights whose answers depend on the image."""
    model = runtime.build_model(name, "none", seed=1)
    enliven(model)
    torch.save(model.state_dict(), file)
    return file


def enliven(model: Any) -> None:
    """Have the answers of a model with untrained weights depend on the image.

    They leave every score the same: the batch norms are set to what they see, and the
    classes are told apart at random.
    """
    generator = torch.Generator().manual_seed(0)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    images = [torch.from_numpy(noise_planes(240, 320, seed)) for seed in (1, 2)]
    with torch.no_grad():
        for key, value in model.state_dict().items():
            is_of_classes = "cls_" in key or "classification_head" in key
            if is_of_classes and key.endswith("weight") and value.ndim > 1:
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        model(images)
    model.eval()


def noise_planes(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth noise as a model takes it."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((3, height // 20, width // 20), dtype=np.float32)
    return np.kron(coarse, np.ones((1, 20, 20), np.float32))


def picture(height: int, width: int) -> np.ndarray:
    """The same as an image."""
    planes = noise_planes(height + 20, width + 20, 3)[:, :height, :width]
    return np.ascontiguousarray(planes.transpose(1, 2, 0) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local checkpoint of the smallest model."""
    return lively_weights(NAME, tmp_path_factory.mktemp("weights") / "tiny.pth")


def share_matched(one: Detections, two: Detections) -> float:
    """Share of the detections of one that the other has as well."""
    distance_px = np.abs(one.boxes[:, None] - two.boxes[None]).max(axis=2)
    distance = np.abs(one.scores[:, None] - two.scores[None])
    is_same = (distance_px < 0.5) & (distance < 1e-3)
    is_same &= one.labels[:, None] == two.labels[None]
    return float(is_same.any(axis=1).mean())


@pytest.mark.parametrize("name", runtime.NAMES)
def test_published_numbers_are_torchvisions_own(name: str) -> None:
    """The list that needs no torch equals the metadata of the default weights."""
    said = runtime.published(name)
    assert runtime.PUBLISHED_AP[name] == pytest.approx(said.box_ap)
    assert said.gflops > 0
    assert said.url.startswith("https://")
    assert stated(f"torchvision:{name}").names == tuple(filter(None, said.categories))


def test_the_nine_of_the_thesis_and_the_v2_ones_are_there() -> None:
    """Twelve builders, all known to torchvision."""
    assert len(runtime.NAMES) == 12
    keypoints = runtime.published("keypointrcnn_resnet50_fpn")
    assert keypoints.categories == ("", "person")


def test_random_weights_are_labelled_and_follow_the_seed() -> None:
    """Their numbers must not be taken for accuracy."""
    spec = f"torchvision:{NAME}?weights=none"
    detector = load_detector(spec)
    assert caveat(detector) == "random weights: no accuracy"
    assert detector.name == short_name(spec) == f"{NAME} (random weights)"
    assert len(detector.names) == 80
    before = torch.random.get_rng_state()
    first, again, other = (
        runtime.build_model(NAME, "none", seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    key = "head.classification_head.module_list.0.1.weight"
    assert torch.equal(first[key], again[key])
    assert not torch.equal(first[key], other[key])


def test_a_local_checkpoint_is_used(weights: Path) -> None:
    """The answers are those of the weights in the file, without a caveat."""
    spec = f"torchvision:{NAME}?weights={weights}"
    detector = load_detector(spec)
    assert caveat(detector) == ""
    assert detector.name == short_name(spec) == f"{NAME} (tiny)"
    found = detector.detect(picture(120, 160))
    blank = load_detector(f"torchvision:{NAME}?weights=none").detect(picture(120, 160))
    assert len(np.unique(found.scores)) > len(np.unique(blank.scores))


@pytest.mark.slow
def test_it_keeps_the_protocol(weights: Path) -> None:
    """As every detector does."""
    check_detector(lambda: load_detector(f"torchvision:{NAME}?weights={weights}"))


def test_weights_with_other_batch_norms_load(weights: Path, tmp_path: Path) -> None:
    """Published files come from frozen batch norms, which count no batches."""
    state = torch.load(weights, weights_only=True)
    kept = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    file = tmp_path / "frozen.pth"
    torch.save(kept, file)
    one = load_detector(f"torchvision:{NAME}?weights={file}").detect(picture(90, 90))
    two = load_detector(f"torchvision:{NAME}?weights={weights}").detect(picture(90, 90))
    assert np.array_equal(one.boxes, two.boxes)


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Ask the reader to raise."""
        return (exec, ("raise SystemExit",))


def test_bad_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    """Missing, no checkpoint, code, and a state dict of another model."""
    file = tmp_path / "bad.pth"
    with pytest.raises(DataError, match="do not exist"):
        load_detector(f"torchvision:{NAME}?weights={file}")
    for wrong in (b"", b"not a checkpoint", weights.read_bytes()[:5000]):
        file.write_bytes(wrong)
        with pytest.raises(DataError, match="no plain state dict"):
            load_detector(f"torchvision:{NAME}?weights={file}")
    torch.save({"model": Trap()}, file)
    with pytest.raises(DataError, match="no plain state dict"):
        load_detector(f"torchvision:{NAME}?weights={file}")
    for other in ({"a": torch.zeros(1)}, [1, 2]):
        torch.save(other, file)
        with pytest.raises(DataError, match=f"do not fit {NAME}"):
            load_detector(f"torchvision:{NAME}?weights={file}")


def test_unknown_names_are_refused() -> None:
    """With what was meant."""
    with pytest.raises(ConfigError) as error:
        load_detector("torchvision:ssd300_vgg61")
    assert error.value.hint == "did you mean ssd300_vgg16?"


def test_weights_that_cannot_be_fetched_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a network the message has the address and the way around."""

    def unreachable(*_: Any, **__: Any) -> None:
        message = "name or service not known"
        raise OSError(message)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(PrerequisiteError, match="https://") as error:
        load_detector(f"torchvision:{NAME}")
    assert "?weights=FILE" in error.value.hint


def test_operators_that_do_not_load_are_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The usual trap: torch for the CPU, torchvision for CUDA."""

    def fail(*_: Any) -> None:
        message = "operator torchvision::nms does not exist"
        raise RuntimeError(message)

    monkeypatch.setattr(runtime, "require", fail)
    with pytest.raises(PrerequisiteError, match="does not fit torch") as error:
        runtime.published(NAME)
    assert "--index-url" in error.value.hint


SIZES = ((213, 320), (320, 214), (100, 300))  # on one, torchvision's tracing is off


@pytest.mark.slow
def test_exported_graphs_agree_with_torch(tmp_path: Path) -> None:
    """Any size of image, also one on which torchvision's own tracing is a pixel off."""
    pytest.importorskip("onnx")
    file = lively_weights(TWO_STAGE, tmp_path / "weights.pth")
    card = export.export_torchvision(TWO_STAGE, str(file), tmp_path / "model.onnx")
    assert card == tmp_path / "model.toml"
    one = load_detector(f"torchvision:{TWO_STAGE}?weights={file}")
    two = load_detector(f"onnx:{tmp_path / 'model.onnx'}")
    assert two.names == one.names
    assert two.name == one.name
    for height, width in SIZES:
        pixels = picture(height, width)
        wanted, found = one.detect(pixels), two.detect(pixels)
        assert len(wanted) == len(found)
        if len(wanted):
            assert share_matched(wanted, found) >= 0.95


def test_exported_graphs_of_one_stage_agree_with_torch(tmp_path: Path) -> None:
    """The same of SSD, whose graph repeats a part for each class: of few of them."""
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    models = importlib.import_module("torchvision.models.detection")
    names = ("none", "a", "b", "c", "d")

    def answer(boxes: Any, labels: Any, scores: Any) -> Detections:
        return Detections(
            boxes=np.asarray(boxes),
            labels=np.asarray(labels, np.int32),
            scores=np.asarray(scores),
            names=names,
        )

    with torch.random.fork_rng():
        torch.manual_seed(1)
        make = getattr(models, NAME)
        model = make(weights=None, weights_backbone=None, num_classes=len(names)).eval()
    enliven(model)
    file = tmp_path / "model.onnx"
    export._write_graph(model, file)
    session = ort.InferenceSession(str(file))
    for height, width in SIZES:
        planes = noise_planes(height + 20, width + 20, 3)[:, :height, :width].copy()
        with torch.no_grad():
            (found,) = model([torch.from_numpy(planes)])
        wanted = answer(found["boxes"], found["labels"], found["scores"])
        exported = answer(
            *session.run(["boxes", "labels", "scores"], {"image": planes})
        )
        assert len(exported) == len(wanted) > 0
        assert share_matched(wanted, exported) >= 0.95


def test_the_exported_resize_is_torchs_own(tmp_path: Path) -> None:
    """The size of every image is the same, to the pixel."""
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    transforms = pytest.importorskip("torchvision.models.detection.transform")

    def make() -> Any:
        zero, one = [0.0] * 3, [1.0] * 3
        return transforms.GeneralizedRCNNTransform(100, 170, zero, one).eval()

    class Sized(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Module()
            self.model.transform = make()

        def forward(self, images: list[Any]) -> list[dict[str, Any]]:
            batch, _ = self.model.transform(images)
            height, width = batch.image_sizes[0]
            size = torch.stack([torch.as_tensor(height), torch.as_tensor(width)])
            return [{"boxes": batch.tensors, "labels": size, "scores": size}]

    model = Sized()
    model.transform = model.model.transform
    file = tmp_path / "resize.onnx"
    export._write_graph(model, file)
    session = ort.InferenceSession(str(file))
    ours, rng = make(), np.random.default_rng(0)
    for height, width in [(426, 640), *rng.integers(20, 200, (25, 2)).tolist()]:
        image = rng.random((3, height, width), dtype=np.float32)
        batch, _ = ours([torch.from_numpy(image)])
        tensors, size, _ = session.run(None, {"image": image})
        assert tuple(size) == batch.image_sizes[0]
        assert np.allclose(tensors, batch.tensors.numpy(), atol=1e-3)


@pytest.mark.slow
def test_exporting_random_weights_keeps_the_caveat(tmp_path: Path) -> None:
    """The card says it, so that reports can."""
    pytest.importorskip("onnx")
    export.export_torchvision(TWO_STAGE, "none", tmp_path / "random.onnx")
    detector = load_detector(f"onnx:{tmp_path / 'random.onnx'}")
    assert caveat(detector) == runtime.RANDOM_WEIGHTS


def test_export_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    """Another ending, and a folder that is not there."""
    with pytest.raises(DataError, match=r"must end in \.onnx"):
        export.export_torchvision(NAME, "none", tmp_path / "model.pt")
    with pytest.raises(DataError, match="cannot be written"):
        export.export_torchvision(NAME, "none", tmp_path / "nowhere" / "model.onnx")


def test_the_shim_pools_like_a_plain_average() -> None:
    """RoIAlign of a plane x + 10 y gives the coordinates of its bins."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    aligned = False
    rois = torch.tensor([[0.0, 4.0, 6.0, 18.0, 20.0]])
    found = torch.ops.torchvision.roi_align(
        (x + 10 * y)[None, None], rois, 0.5, 7, 7, 2, aligned
    )
    columns = 2 + (torch.arange(7) + 0.5)
    rows = 3 + (torch.arange(7) + 0.5)
    assert torch.allclose(found[0, 0], columns[None] + 10 * rows[:, None], atol=1e-4)
