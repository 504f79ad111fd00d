"""Config of federation.train and federation.evaluate, key by key.

What the federation's experiment files have in common stands first, table by table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.federation.recordings.layouts import RecordingKind
from midhaul.federation.serving.config import OnlineConfig
from midhaul.runs.config import Config, Section
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

    kind: RecordingKind = Field(
        default="builtin",
        description="builtin: detectors of midhaul are asked about scenes that it "
        "draws; parquet: one row per label or box; armol: its text files; "
        "frugalml, frugalmct: their folders; coco: one results file per provider.",
    )
    file: Path | None = Field(
        default=None, description="File (parquet) or folder (all others) of answers."
    )
    truth: Path | None = Field(
        default=None,
        description="File of the truth, where the answers do not have it: Parquet, or "
        "COCO's JSON.",
    )
    task: Literal["boxes", "tags", "labels"] = Field(
        default="boxes",
        description="What an answer is: boxes, several labels, or one label.",
    )
    split: str = Field(default="test", description="Which part of it (armol).")
    labels: Literal["class", "word"] = Field(
        default="class",
        description="Whether a box is what its class says, or the provider's word "
        "(armol).",
    )
    vocabulary: str = Field(
        default="",
        description="coco80, voc20 or a TOML file: what the providers' words mean; "
        "as they are when empty.",
    )
    percent_providers: tuple[str, ...] = Field(
        default=(), description="Providers whose scores run from 0 to 100."
    )
    mismatch: Literal["keep", "intersection", "error"] = Field(
        default="keep",
        description="What becomes of items that not everybody was asked about.",
    )
    providers: tuple[str, ...] = Field(
        default=(), description="Only these providers, in this order; all when empty."
    )
    price_usd: float | None = Field(
        default=None, ge=0, description="Price of a call of a provider without another."
    )
    prices_usd: dict[str, float] = Field(
        default_factory=dict[str, float],
        description="Prices of a call by provider, instead of the recorded ones.",
    )
    n_items: int | None = Field(
        default=None, ge=4, description="Only so many items, drawn by hash."
    )
    n_scenes: int = Field(default=240, ge=8, description="Scenes to draw (builtin).")
    detectors: tuple[Spec, ...] = Field(
        default=BUILTIN_DETECTORS,
        min_length=1,
        description="Who is asked about the scenes (builtin).",
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

    kind: Literal["none", "statistics", "embedding"] = Field(
        default="none",
        description="none; statistics of the image's colours and edges; embedding by "
        "an ONNX model.",
    )
    images: Path | None = Field(
        default=None, description="Folder of the images, found by item id."
    )
    model: Path | None = Field(default=None, description="ONNX file (embedding).")
    output: str = Field(
        default="", description="Output or inner tensor of the model to take."
    )

    @model_validator(mode="after")
    def _files_are_given(self) -> Self:
        if self.kind == "embedding" and self.model is None:
            message = "features of kind embedding need the key model"
            raise ValueError(message)
        return self


class FusionConfig(Section):
    """How several answers become one."""

    name: str = Field(
        default="stacked",
        description="stacked (learned), wbf, nms, soft_nms, nmw for boxes with "
        "/affirmative, /consensus or /unanimous behind it; vote for labels and tags.",
    )
    iou: float = Field(
        default=0.55,
        gt=0,
        lt=1,
        description="Overlap of boxes that mean the same object.",
    )
    calibration: Literal["none", "isotonic", "platt"] = Field(
        default="isotonic",
        description="How each provider's scores are made comparable.",
    )


class LearnerConfig(Section):
    """How SAC, TD3 and PPO are trained."""

    preset: Literal["armol", "corrected"] = Field(
        default="corrected",
        description="armol: the released settings; corrected: a bandit that stores "
        "what was done.",
    )
    n_steps: int | None = Field(
        default=None, ge=1, description="Steps of the environment; the preset's else."
    )
    first: str = Field(
        default="",
        description="Provider that is asked about every item, and whose answer is part "
        "of the features by which the others are chosen; nobody when empty.",
    )
    device: Literal["cpu", "cuda", "auto"] = Field(
        default="cpu",
        description="Where networks learn; auto: cuda where torch sees it. Large "
        "batches are worth a GPU, the corrected preset's are not.",
    )


class FaultsConfig(Section):
    """A replay in virtual time, in which the best provider fails in several ways."""

    is_on: bool = Field(default=True, description="Whether there is such a replay.")
    phase_s: float = Field(
        default=20.0, gt=0, description="Length of each of its ten phases."
    )
    rate_hz: float = Field(
        default=5.0, gt=0, description="Mean number of requests in a second."
    )


class StreamedOnlineConfig(OnlineConfig):
    """A stream in which a provider gets worse, for policies that go on learning."""

    is_on: bool = Field(
        default=False,
        description="Whether families of policies are also streamed kept up to date.",
    )
    worse: Literal["swapped", "failing", "unsure", "none"] = Field(
        default="swapped",
        description="swapped: it answers what it said to another item; failing: not "
        "at all; unsure: with half its scores; none: nobody gets worse.",
    )
    provider: str = Field(
        default="", description="Who gets worse; the best one alone where empty."
    )
    worse_share: float = Field(
        default=0.7, gt=0, le=1, description="Share of its answers that are hit."
    )
    worse_from: float = Field(
        default=1 / 3, ge=0, lt=1, description="Share of the stream before that."
    )
    feedback_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the items of which people say what is right.",
    )


_WHOLE = 1e-9

Reference = Literal["truth", "ensemble"]


class TrainConfig(Config):
    """Learn whom to ask, from recorded answers, and save it to be served."""

    kind: str = Field(default="federation.train", description="Kind of the experiment.")
    data: RecordingConfig = Field(
        default_factory=RecordingConfig, description="The recorded answers."
    )
    features: FeaturesConfig = Field(
        default_factory=FeaturesConfig, description="What is known before a call."
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="How answers are fused."
    )
    policy: str = Field(default="cascade", description="Which policy to learn.")
    providers: tuple[str, ...] = Field(
        default=(),
        description="Whom the policies that are told so ask: subset all of these, "
        "single this one, or the best on the items to learn from when empty.",
    )
    budget_usd: float | None = Field(
        default=None,
        gt=0,
        description="Mean price of an item that the policy may spend.",
    )
    budget_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The same as a share of asking everybody, without budget_usd.",
    )
    reference: Reference = Field(
        default="truth",
        description="What is right: the truth of people, or without labels the fused "
        "answer of all providers, whose calls are charged.",
    )
    learner: LearnerConfig = Field(
        default_factory=LearnerConfig, description="For sac, td3 and ppo."
    )
    shares: tuple[float, float] = Field(
        default=(0.8, 0.2),
        description="Shares of the items to learn from and to calibrate on.",
    )

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        _check_shares(self.shares)
        return self


class EvaluateConfig(Config):
    """Compare policies on items that none of them has seen."""

    kind: str = Field(
        default="federation.evaluate", description="Kind of the experiment."
    )
    data: RecordingConfig = Field(
        default_factory=RecordingConfig, description="The recorded answers."
    )
    features: FeaturesConfig = Field(
        default_factory=FeaturesConfig, description="What is known before a call."
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="How answers are fused."
    )
    policies: tuple[str, ...] = Field(
        default=(
            "single",
            "random-1",
            "random-n",
            "fixed",
            "ensemble-n",
            "frugal",
            "cascade",
            "oracle",
        ),
        min_length=1,
        description="Policies to compare; single stands for each provider alone.",
    )
    trained: tuple[Path, ...] = Field(
        default=(), description="Federations that federation.train saved, to compare."
    )
    budget_shares: tuple[float, ...] = Field(
        default=(0.2, 0.3, 0.4, 0.6, 0.8, 1.0),
        min_length=1,
        description="Budgets for policies that keep one: shares of asking everybody.",
    )
    reference: Reference = Field(
        default="truth",
        description="What policies learn from: the truth, or the fused answer of all "
        "providers. Judged is always by the truth.",
    )
    learner: LearnerConfig = Field(
        default_factory=LearnerConfig, description="For sac, td3 and ppo."
    )
    faults: FaultsConfig = Field(
        default_factory=FaultsConfig, description="What else is tried: a bad day."
    )
    online: StreamedOnlineConfig = Field(
        default_factory=StreamedOnlineConfig,
        description="What else is tried: learning while a provider gets worse.",
    )
    n_seeds: int = Field(default=5, ge=1, description="How many splits to average.")
    shares: tuple[float, float, float] = Field(
        default=(0.4, 0.1, 0.5),
        description="Shares of the items for training, calibration and test.",
    )
    n_resamples: int = Field(
        default=400, ge=50, description="Resamples behind each interval."
    )
    n_examples: int = Field(
        default=3, ge=0, description="Items to show with everybody's boxes."
    )

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
