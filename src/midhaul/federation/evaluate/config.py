"""Config of federation.train and federation.evaluate, key by key.

What the federation's experiment files have in common stands first, table by table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.federation.recordings.layouts import RecordingKind
from midhaul.federation.serving.config import OnlineConfig
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.spec import Spec

BUILTIN_DETECTORS = (
    Spec("builtin:street-n"),
    Spec("builtin:street-s"),
    Spec("builtin:street-m"),
    Spec("builtin:street-l"),
    Spec("builtin:street-x"),
)


class RecordingConfig(Section):
    """Recorded answers of all providers to the same items."""

    kind: RecordingKind = setting(
        "builtin",
        "builtin: detectors of midhaul are asked about scenes that it "
        "draws; parquet: one row per label or box; armol: its text files; "
        "frugalml, frugalmct: their folders; coco: one results file per provider.",
    )
    file: Path | None = setting(
        None, "File (parquet) or folder (all others) of answers."
    )
    truth: Path | None = setting(
        None,
        "File of the truth, where the answers do not have it: Parquet, or COCO's JSON.",
    )
    task: Literal["boxes", "tags", "labels"] = setting(
        "boxes", "What an answer is: boxes, several labels, or one label."
    )
    split: str = setting("test", "Which part of it (armol).")
    labels: Literal["class", "word"] = setting(
        "class", "Whether a box is what its class says, or the provider's word (armol)."
    )
    vocabulary: str = setting(
        "",
        "coco80, voc20 or a TOML file: what the providers' words mean; "
        "as they are when empty.",
    )
    percent_providers: tuple[str, ...] = setting(
        (), "Providers whose scores run from 0 to 100."
    )
    mismatch: Literal["keep", "intersection", "error"] = setting(
        "keep", "What becomes of items that not everybody was asked about."
    )
    providers: tuple[str, ...] = setting(
        (), "Only these providers, in this order; all when empty."
    )
    price_usd: float | None = setting(
        None, "Price of a call of a provider without another.", ge=0
    )
    prices_usd: dict[str, float] = setting(
        dict[str, float], "Prices of a call by provider, instead of the recorded ones."
    )
    n_items: int | None = setting(None, "Only so many items, drawn by hash.", ge=4)
    n_scenes: int = setting(240, "Scenes to draw (builtin).", ge=8)
    detectors: tuple[Spec, ...] = setting(
        BUILTIN_DETECTORS, "Who is asked about the scenes (builtin).", min_length=1
    )

    @model_validator(mode="after")
    def _file_is_given(self) -> Self:
        if self.kind != "builtin" and self.file is None:
            message = f"data of kind {self.kind} need the key file"
            raise ValueError(message)
        if any(price < 0 for price in self.prices_usd.values()):
            message = "prices_usd must not be negative"
            raise ValueError(message)
        return self


class FeaturesConfig(Section):
    """What is known of an item before anybody is asked."""

    kind: Literal["none", "statistics", "embedding"] = setting(
        "none",
        "none; statistics of the image's colours and edges; embedding by "
        "an ONNX model.",
    )
    images: Path | None = setting(None, "Folder of the images, found by item id.")
    model: Path | None = setting(None, "ONNX file (embedding).")
    output: str = setting("", "Output or inner tensor of the model to take.")

    @model_validator(mode="after")
    def _files_are_given(self) -> Self:
        if self.kind == "embedding" and self.model is None:
            message = "features of kind embedding need the key model"
            raise ValueError(message)
        return self


class FusionConfig(Section):
    """How several answers become one."""

    name: str = setting(
        "stacked",
        "stacked (learned), wbf, nms, soft_nms, nmw for boxes with "
        "/affirmative, /consensus or /unanimous behind it; vote for labels and tags.",
    )
    iou: float = setting(
        0.55, "Overlap of boxes that mean the same object.", gt=0, lt=1
    )
    calibration: Literal["none", "isotonic", "platt"] = setting(
        "isotonic", "How each provider's scores are made comparable."
    )


class LearnerConfig(Section):
    """How SAC, TD3 and PPO are trained."""

    preset: Literal["armol", "corrected"] = setting(
        "corrected",
        "armol: the released settings; corrected: a bandit that stores what was done.",
    )
    n_steps: int | None = setting(
        None, "Steps of the environment; the preset's else.", ge=1
    )
    first: str = setting(
        "",
        "Provider that is asked about every item, and whose answer is part "
        "of the features by which the others are chosen; nobody when empty.",
    )
    device: Literal["cpu", "cuda", "auto"] = setting(
        "cpu",
        "Where networks learn; auto: cuda where torch sees it. Large "
        "batches are worth a GPU, the corrected preset's are not.",
    )


class FaultsConfig(Section):
    """A replay in virtual time, in which the best provider fails in several ways."""

    is_on: bool = setting(True, "Whether there is such a replay.")
    phase_s: float = setting(20.0, "Length of each of its ten phases.", gt=0)
    rate_hz: float = setting(5.0, "Mean number of requests in a second.", gt=0)


class StreamedOnlineConfig(OnlineConfig):
    """A stream in which a provider gets worse, for policies that go on learning."""

    is_on: bool = setting(
        False, "Whether families of policies are also streamed kept up to date."
    )
    worse: Literal["swapped", "failing", "unsure", "none"] = setting(
        "swapped",
        "swapped: it answers what it said to another item; failing: not "
        "at all; unsure: with half its scores; none: nobody gets worse.",
    )
    provider: str = setting("", "Who gets worse; the best one alone where empty.")
    worse_share: float = setting(0.7, "Share of its answers that are hit.", gt=0, le=1)
    worse_from: float = setting(1 / 3, "Share of the stream before that.", ge=0, lt=1)
    feedback_share: float = setting(
        1.0, "Share of the items of which people say what is right.", ge=0, le=1
    )


_WHOLE = 1e-9

Reference = Literal["truth", "ensemble"]


class TrainConfig(Config):
    """Learn whom to ask, from recorded answers, and save it to be served."""

    kind: str = setting("federation.train", "Kind of the experiment.")
    data: RecordingConfig = setting(RecordingConfig, "The recorded answers.")
    features: FeaturesConfig = setting(FeaturesConfig, "What is known before a call.")
    fusion: FusionConfig = setting(FusionConfig, "How answers are fused.")
    policy: str = setting("cascade", "Which policy to learn.")
    providers: tuple[str, ...] = setting(
        (),
        "Whom the policies that are told so ask: subset all of these, "
        "single this one, or the best on the items to learn from when empty.",
    )
    budget_usd: float | None = setting(
        None, "Mean price of an item that the policy may spend.", gt=0
    )
    budget_share: float = setting(
        0.5, "The same as a share of asking everybody, without budget_usd.", gt=0, le=1
    )
    reference: Reference = setting(
        "truth",
        "What is right: the truth of people, or without labels the fused "
        "answer of all providers, whose calls are charged.",
    )
    learner: LearnerConfig = setting(LearnerConfig, "For sac, td3 and ppo.")
    shares: tuple[float, float] = setting(
        (0.8, 0.2), "Shares of the items to learn from and to calibrate on."
    )

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        _check_shares(self.shares)
        return self


class EvaluateConfig(Config):
    """Compare policies on items that none of them has seen."""

    kind: str = setting("federation.evaluate", "Kind of the experiment.")
    data: RecordingConfig = setting(RecordingConfig, "The recorded answers.")
    features: FeaturesConfig = setting(FeaturesConfig, "What is known before a call.")
    fusion: FusionConfig = setting(FusionConfig, "How answers are fused.")
    policies: tuple[str, ...] = setting(
        (
            "single",
            "random-1",
            "random-n",
            "fixed",
            "ensemble-n",
            "frugal",
            "cascade",
            "oracle",
        ),
        "Policies to compare; single stands for each provider alone.",
        min_length=1,
    )
    trained: tuple[Path, ...] = setting(
        (), "Federations that federation.train saved, to compare."
    )
    budget_shares: tuple[float, ...] = setting(
        (0.2, 0.3, 0.4, 0.6, 0.8, 1.0),
        "Budgets for policies that keep one: shares of asking everybody.",
        min_length=1,
    )
    reference: Reference = setting(
        "truth",
        "What policies learn from: the truth, or the fused answer of all "
        "providers. Judged is always by the truth.",
    )
    learner: LearnerConfig = setting(LearnerConfig, "For sac, td3 and ppo.")
    faults: FaultsConfig = setting(FaultsConfig, "What else is tried: a bad day.")
    online: StreamedOnlineConfig = setting(
        StreamedOnlineConfig,
        "What else is tried: learning while a provider gets worse.",
    )
    n_seeds: int = setting(5, "How many splits to average.", ge=1)
    shares: tuple[float, float, float] = setting(
        (0.4, 0.1, 0.5), "Shares of the items for training, calibration and test."
    )
    n_resamples: int = setting(400, "Resamples behind each interval.", ge=50)
    n_examples: int = setting(3, "Items to show with everybody's boxes.", ge=0)

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        _check_shares(self.shares)
        if any(not 0 < share <= 1 for share in self.budget_shares):
            message = f"budget_shares lie in (0, 1], found {list(self.budget_shares)}"
            raise ValueError(message)
        return self


def _check_shares(shares: tuple[float, ...]) -> None:
    if min(shares) <= 0 or abs(sum(shares) - 1) > _WHOLE:
        message = f"shares must be positive and add up to 1, found {list(shares)}"
        raise ValueError(message)
