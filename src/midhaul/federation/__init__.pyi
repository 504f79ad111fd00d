from .bundle import Bundle as Bundle
from .evaluate.config import (
    EvaluateConfig as EvaluateConfig,
    TrainConfig as TrainConfig,
)
from .fusion import fit_fuser as fit_fuser, fuser_named as fuser_named
from .fusion.calibration import (
    Calibration as Calibration,
    fit_calibration as fit_calibration,
)
from .fusion.detections import fuse as fuse
from .money.budget import BudgetGuard as BudgetGuard
from .money.ledger import Ledger as Ledger
from .money.prices import PriceList as PriceList
from .policies.base import (
    Examples as Examples,
    Replay as Replay,
    Situation as Situation,
    replay as replay,
)
from .policies.budgets import calibrate as calibrate
from .policies.catalogue import fit_policy as fit_policy
from .quality import (
    item_quality as item_quality,
    set_quality as set_quality,
    subset_qualities as subset_qualities,
)
from .record.config import RecordConfig as RecordConfig
from .recordings.problem import (
    Answers as Answers,
    Recording as Recording,
    split_items as split_items,
)
from .recordings.source import (
    RecordingSource as RecordingSource,
    open_recording as open_recording,
)
from .recordings.vocabulary import (
    Vocabulary as Vocabulary,
    read_vocabulary as read_vocabulary,
)
