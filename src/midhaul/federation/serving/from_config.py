"""From the file of a federation to the federation itself."""

from __future__ import annotations

import asyncio
import hashlib
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from midhaul.errors import ConfigError, DataError
from midhaul.federation.features.base import NoFeatures
from midhaul.federation.money.budget import BudgetGuard, Budgets
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.prices import prices_of_file
from midhaul.federation.policies.baselines import policy_named
from midhaul.federation.providers.catalogue import ProviderSpec, make_provider
from midhaul.federation.recordings.cleaning import CleaningRules
from midhaul.federation.recordings.vocabulary import (
    ShippedTable,
    Vocabulary,
    read_vocabulary,
)
from midhaul.federation.serving.engine import Federation
from midhaul.federation.serving.online_feedback import OnlineState
from midhaul.federation.serving.settings import (
    BreakerSettings,
    CacheSettings,
    FederationSettings,
    LearningSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.federation.serving.trained_parts import Knowledge
from midhaul.runs.section import value_of
from midhaul.vision.images.codecs import decode, size
from midhaul.vision.images.limits import DecodingLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from midhaul.federation.bundle import Bundle
    from midhaul.federation.features.base import FeatureExtractor
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.providers.base import Provider
    from midhaul.federation.serving.config import (
        FederationFile,
        PolicyConfig,
        ProviderConfig,
        ServedOnlineConfig,
    )
    from midhaul.federation.serving.request import Observer
    from midhaul.vision.images.codecs import Pixels

_VERSION_LENGTH = 12
_LARGE_PX = 4_000_000


def open_ledger(config: FederationFile) -> Ledger:
    """Open the ledger that a file names; its owner closes it.

    StoreError where another process writes it, or it is damaged.
    """
    return Ledger.open(config.ledger.file, sync=config.ledger.sync)


def open_online(config: FederationFile) -> AbstractContextManager[OnlineState | None]:
    """Open the file of what the policy learns, where it does; its owner closes it."""
    policy = config.policy
    if policy.online is None or policy.online.file is None or policy.trained is None:
        return nullcontext()
    return OnlineState(policy.online.file, policy.trained)


def build(
    config: FederationFile,
    ledger: Ledger,
    *,
    online: OnlineState | None = None,
    observer: Observer | None = None,
    make: Callable[[ProviderSpec], Provider] = make_provider,
) -> Federation:
    """Make a federation.

    Without ``online``, what is learned is lost at the end. MidhaulError where a file, a
    library or credentials are missing, or do not fit.
    """
    prices = prices_of_file(config.providers)
    guard = BudgetGuard(
        ledger, value_of(Budgets, config.budget), run=config.ledger.run, prices=prices
    )
    settings = value_of(
        FederationSettings,
        config,
        fallback=config.policy.fallback,
        cache=value_of(CacheSettings, config.cache),
        version=_version(config.policy),
        learning=_learning(config.policy.online),
    )
    return Federation(
        [make(_spec_of(provider, config.seed)) for provider in config.providers],
        knowledge_of(config, online),
        guard,
        prices,
        settings=settings,
        limits={one.name: limits_of(one) for one in config.providers},
        observer=observer,
    )


def _learning(online: ServedOnlineConfig | None) -> LearningSettings:
    if online is None:
        return LearningSettings()
    return value_of(LearningSettings, online, wait_s=online.feedback_wait_s)


def limits_of(one: ProviderConfig) -> ProviderSettings:
    """How a provider of a file is called."""
    return value_of(
        ProviderSettings,
        one,
        rate_hz=math.inf if one.rate_hz is None else one.rate_hz,
        retry=value_of(RetrySettings, one.retry),
        breaker=value_of(BreakerSettings, one.breaker),
    )


def knowledge_of(
    config: FederationFile, online: OnlineState | None = None
) -> Knowledge:
    """Whom to ask and how to fuse: as it was trained, or by name.

    MidhaulError where the trained federation is missing or has other providers, or
    there is no such vocabulary.
    """
    policy = config.policy
    percent = frozenset(one.name for one in config.providers if one.percent_scores)
    rules = CleaningRules(percent_providers=percent)
    if policy.trained is not None:
        return _trained(config, policy.trained, rules, online)
    from midhaul.federation.fusion import fuser_named  # noqa: PLC0415 - loads numba

    fuser = policy.fuser or ("wbf" if policy.task == "boxes" else "vote")
    return Knowledge(
        task=policy.task,
        vocabulary=_vocabulary(policy.vocabulary or "coco80"),
        policy=policy_named(policy.name, len(config.providers)),
        fuser=fuser_named(fuser, iou=policy.iou),
        rules=rules,
        measure=_measure_of(config),
    )


def _measure_of(
    config: FederationFile,
) -> Callable[[bytes], Awaitable[tuple[float, float]]] | None:
    """Tells width and height of an image in px, all of which is decoded, in a thread.

    What it returns raises DataError for what is no whole image or exceeds a limit. Of
    large images one is decoded at a time: each takes up to ten bytes a pixel.
    """
    if not config.is_image:
        return None
    limits = DecodingLimits(
        max_pixels=config.max_pixels,
        max_scans=config.max_scans,
        max_s=config.max_decode_s,
    )

    one_large = asyncio.Semaphore(1)

    def end(decoding: asyncio.Future[Pixels]) -> None:
        one_large.release()
        decoding.exception()  # is seen, though nobody may wait for it any more

    async def measure(data: bytes) -> tuple[float, float]:
        width, height = size(data, limits=limits)
        if width * height > _LARGE_PX:
            await one_large.acquire()
            loop = asyncio.get_running_loop()
            work = partial(decode, data, limits=limits)
            decoding = loop.run_in_executor(None, work)
            decoding.add_done_callback(end)
            pixels = await asyncio.shield(decoding)  # a thread cannot be cancelled
        else:
            pixels = await asyncio.to_thread(decode, data, limits=limits)
        height, width = pixels.shape[:2]
        return float(width), float(height)

    return measure


def _trained(
    config: FederationFile, file: Path, rules: CleaningRules, online: OnlineState | None
) -> Knowledge:
    from midhaul.federation.bundle import Bundle  # noqa: PLC0415 - loads learners

    bundle = Bundle.load(file)
    names = tuple(one.name for one in config.providers)
    if names != bundle.providers:
        message = (
            f"{file} was trained with the providers {', '.join(bundle.providers)}, "
            f"the file has {', '.join(names)}"
        )
        raise ConfigError(message, "list the same names, in the same order")
    said = config.policy.vocabulary
    vocabulary = (
        _vocabulary(said).renamed(bundle.names) if said else Vocabulary(bundle.names)
    )
    policy, save = _policy(config, bundle, online)
    return Knowledge(
        task=bundle.task,
        vocabulary=vocabulary,
        policy=policy,
        save=save,
        fuser=bundle.fuser,
        features=_features(bundle, config.policy.embedding),
        calibration=bundle.calibration,
        rules=rules,
        measure=_measure_of(config),
    )


def _policy(
    config: FederationFile, bundle: Bundle, online: OnlineState | None
) -> tuple[SubsetPolicy, Callable[[], None] | None]:
    """As it was trained, or that and what keeps it up to date; and what saves it."""
    said = config.policy.online
    if said is None:
        return bundle.policy, None
    from midhaul.federation.serving.online_feedback import online_of  # noqa: PLC0415 - numba

    if online is None:
        return online_of(said, bundle, config.seed), None
    policy = online.policy(said, bundle, config.seed)
    return policy, lambda: online.save(policy)


def _features(bundle: Bundle, embedding: Path | None) -> FeatureExtractor:
    """What gives the features that a policy was trained with."""
    wanted = bundle.features
    if not wanted:
        return NoFeatures()
    from midhaul.federation.features.statistics import ImageStatistics  # noqa: PLC0415 - loads OpenCV

    if wanted == ImageStatistics().names:
        return ImageStatistics()
    hint = "train it with features none, statistics or an embedding"
    if embedding is not None:
        from midhaul.federation.features.embedding import load_embedding  # noqa: PLC0415

        output = wanted[0].partition(":")[2].rpartition("[")[0]
        found = load_embedding(embedding, output)
        if found.names == wanted:
            return found
        hint = f"{embedding} gives {len(found.names)} features, {found.names[0]} …"
    message = f"the policy wants {len(wanted)} features, {wanted[0]} …"
    raise DataError(message, hint)


def _vocabulary(said: str) -> Vocabulary:
    if said in get_args(ShippedTable):
        return read_vocabulary(cast("ShippedTable", said))
    return read_vocabulary(Path(said))


def _spec_of(one: ProviderConfig, seed: int) -> ProviderSpec:
    return ProviderSpec(
        spec=str(one.spec),
        name=one.name,
        region=one.region,
        endpoint=one.endpoint,
        token_env=one.token_env,
        n_at_once=one.n_at_once,
        is_trusted=one.is_trusted,
        seed=seed,
    )


def _version(policy: PolicyConfig) -> str:
    """Changes with whatever decides about an answer; part of the cache's key."""
    digest = hashlib.sha256(policy.model_dump_json().encode())
    for file in (policy.trained, policy.vocabulary, policy.embedding):
        if file and Path(file).is_file():
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:_VERSION_LENGTH]
