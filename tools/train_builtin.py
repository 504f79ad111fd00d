"""Train one of midhaul's built-in detectors and write what is shipped.

    python tools/train_builtin.py --model street-s

writes ``street-s.onnx``, its model card ``street-s.toml`` and its training record
``street-s.json``. Needs the ``learn`` extra. The same arguments on the same machine
give the same weights; on another machine they differ by rounding.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from builtin_card import write_card
from builtin_net import SPECS, STRIDES, NetSpec, StreetNet, WithScores, count_macs
from builtin_scores import MEAN, STD, coco_scores, detect_all
from builtin_training_data import (
    CROP_HEIGHT,
    CROP_WIDTH,
    SEED,
    TrainingScenes,
    cell_centres,
    open_scenes,
    sample,
    targets,
)
from torch import Tensor
from torch.nn import functional

from midhaul.vision.scenes.scene import HEIGHT, LABELS, WIDTH

WEIGHTS = Path(__file__).parent.parent / "src" / "midhaul" / "vision" / "weights"
CACHE = Path(tempfile.gettempdir()) / "midhaul-builtin"
N_SCENES = 6000
WARM_UP = 100
GAINS = (0.8, 1.2)
PEAK_RATE = 2.5e-3
DECAY = 5e-4
AVERAGING = 0.997
N_QUICK_SCENES = 200
N_BETWEEN_NOTES = 200


def loss_of(raw: Tensor, truths: list[tuple[np.ndarray, np.ndarray]]) -> Tensor:
    """Box, objectness and class loss per positive cell."""
    where, boxes, labels = (torch.from_numpy(a) for a in targets(truths))
    corners, strides = (
        torch.from_numpy(a) for a in cell_centres(CROP_WIDTH, CROP_HEIGHT)
    )
    image, cell = where[:, 0], where[:, 1]
    picked = raw[image, cell]
    stride = strides[cell, None]
    centre = picked[:, :2] * stride + corners[cell]
    size = picked[:, 2:4].clamp(max=6.0).exp() * stride
    overlap = ciou(torch.cat([centre - size / 2, centre + size / 2], dim=1), boxes)
    objectness = torch.zeros(raw.shape[:2])
    objectness[image, cell] = overlap.detach().clamp(min=0.0)
    found = functional.binary_cross_entropy_with_logits(
        raw[..., 4], objectness, reduction="sum"
    )
    wanted = functional.one_hot(labels.long(), len(LABELS)).float()
    named = functional.binary_cross_entropy_with_logits(
        picked[:, 5:], wanted, reduction="sum"
    )
    return (5.0 * (1.0 - overlap).sum() + found + named) / max(len(labels), 1)


def ciou(ours: Tensor, theirs: Tensor) -> Tensor:
    """Complete IoU (Zheng et al. 2020) of boxes ``(p, 4)`` in pairs."""
    low = torch.maximum(ours[:, :2], theirs[:, :2])
    high = torch.minimum(ours[:, 2:], theirs[:, 2:])
    shared = (high - low).clamp(min=0.0).prod(dim=1)
    our_size, their_size = ours[:, 2:] - ours[:, :2], theirs[:, 2:] - theirs[:, :2]
    union = our_size.prod(dim=1) + their_size.prod(dim=1) - shared
    iou = shared / union.clamp(min=1e-6)
    hull = torch.maximum(ours[:, 2:], theirs[:, 2:]) - torch.minimum(
        ours[:, :2], theirs[:, :2]
    )
    apart = (ours[:, :2] + ours[:, 2:] - theirs[:, :2] - theirs[:, 2:]) / 2
    distance = apart.square().sum(dim=1) / hull.square().sum(dim=1).clamp(min=1e-6)
    turn = torch.atan2(our_size[:, 0], our_size[:, 1]) - torch.atan2(
        their_size[:, 0], their_size[:, 1]
    )
    shape = (4 / math.pi**2) * turn.square()
    weight = (shape / (1.0 - iou + shape).clamp(min=1e-6)).detach()
    return iou - distance - weight * shape


def rate_at(step: int, steps: int, peak: float = PEAK_RATE) -> float:
    """Learning rate: a linear warm-up, then half a cosine to a fiftieth."""
    warm_up = min(WARM_UP, steps // 5)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / max(steps - warm_up, 1)
    return peak * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * share)))


def follow(average: StreetNet, net: StreetNet, step: int) -> None:
    """Move the average towards the network, fast at first."""
    weight = 1.0 - min(AVERAGING, (1.0 + step) / (20.0 + step))
    with torch.no_grad():
        for slow, fast in zip(
            average.state_dict().values(), net.state_dict().values(), strict=True
        ):
            if slow.dtype.is_floating_point:
                slow.lerp_(fast, weight)


def train(
    spec: NetSpec,
    scenes: TrainingScenes,
    *,
    seed: int,
    steps: int,
    begin: StreetNet | None = None,
    peak_rate: float = PEAK_RATE,
) -> StreetNet:
    """Train a network: a new one, or a copy of one that goes on from where it stands.

    That one keeps its means and deviations of batches. What comes back is the moving
    average of weights.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = copy.deepcopy(begin).eval() if begin else StreetNet(spec, len(LABELS))
    net = net.to(memory_format=torch.channels_last)
    average = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=DECAY)
    recent, start = 0.0, time.perf_counter()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, peak_rate)
        crops, truths = sample(scenes, rng, spec.batch)
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        gains = rng.uniform(*GAINS, (spec.batch, 1, 1, 1)).astype(np.float32)
        x = x.mul_(torch.from_numpy(gains)).clamp_(0.0, 255.0).sub_(MEAN).div_(STD)
        with torch.autocast("cpu", torch.bfloat16):
            raw = net(x)
        loss = loss_of(raw.float(), truths)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        follow(average, net, step)
        recent = 0.98 * recent + 0.02 * loss.item() if step else loss.item()
        if (step + 1) % N_BETWEEN_NOTES == 0:
            past = time.perf_counter() - start
            print(f"{step + 1}/{steps} loss {recent:.3f} {past:.0f} s", flush=True)
    return average


def export(net: StreetNet, file: Path) -> None:
    """Write the ONNX file: one image in, ``(1, cells, 5 + classes)`` out."""
    example = torch.zeros(1, 3, HEIGHT, WIDTH)
    shipped = WithScores(net.to(memory_format=torch.contiguous_format)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            shipped,
            (example,),
            str(file),
            opset_version=17,
            input_names=["images"],
            output_names=["output"],
            dynamo=False,
        )
    model = onnx.load(file)
    shorten_names(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def shorten_names(model: onnx.ModelProto) -> None:
    """Number what is inside the graph; the exporter's long names cost kilobytes."""
    graph = model.graph
    ends = [value.name for value in (*graph.input, *graph.output)]
    short = {name: name for name in (*ends, "")}
    for node in graph.node:
        node.name = ""
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = short.setdefault(name, f"t{len(short)}")
    for tensor in graph.initializer:
        tensor.name = short[tensor.name]
    del graph.value_info[:]


def main() -> None:
    """Read the command line, train, export, judge, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", choices=SPECS, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--iterations", type=int, help="instead of the model's own")
    parser.add_argument("--scenes", type=int, default=N_SCENES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    spec = SPECS[options.model]
    steps = options.iterations or spec.iterations
    scenes = open_scenes(options.cache, options.scenes)
    wall, cpu = time.perf_counter(), time.process_time()
    net = train(spec, scenes, seed=options.seed, steps=steps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.model}.onnx"
    n_macs = count_macs(net, WIDTH, HEIGHT)
    export(net, file)
    truths, found = detect_all(file, range(N_QUICK_SCENES), "calibration")
    record = {
        "model": options.model,
        "parameters": sum(p.numel() for p in net.parameters()),
        "gmac": round(n_macs / 1e9, 4),
        "file_bytes": file.stat().st_size,
        "input_px": [WIDTH, HEIGHT],
        "strides": list(STRIDES),
        "training": {
            "iterations": steps,
            "batch": spec.batch,
            "crop_px": [CROP_WIDTH, CROP_HEIGHT],
            "seed": options.seed,
            "scenes": {
                "split": "training",
                "seed": SEED,
                "indices": [0, options.scenes],
            },
            "peak_learning_rate": PEAK_RATE,
            "precision": "bfloat16 autocast",
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "threads": options.threads,
        },
        "calibration": {
            "scenes": {
                "split": "calibration",
                "seed": 0,
                "indices": [0, N_QUICK_SCENES],
            },
            **{k: round(v, 4) for k, v in coco_scores(truths, found).items()},
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "onnx": onnx.__version__,
        },
    }
    file.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    write_card(file.with_suffix(".toml"), record, mean=MEAN, std=STD)
    print(json.dumps(record["calibration"]), f"{wall:.0f} s")


if __name__ == "__main__":
    main()
