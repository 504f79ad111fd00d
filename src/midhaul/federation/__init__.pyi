from .budget import BudgetGuard as BudgetGuard
from .bundle import Bundle as Bundle
from .calibration import (
    Calibration as Calibration,
    fit_calibration as fit_calibration,
)
from .config import (
    EvaluateConfig as EvaluateConfig,
    TrainConfig as TrainConfig,
)
from .evaluation import (
    Replay as Replay,
    replay as replay,
)
from .fusion import (
    fit_fuser as fit_fuser,
    fuser_named as fuser_named,
)
from .fusion.detections import fuse as fuse
from .latency.config import LatencyConfig as LatencyConfig
from .ledger import Ledger as Ledger
from .policies.base import (
    Examples as Examples,
    Situation as Situation,
)
from .policies.budgets import calibrate as calibrate
from .policies.catalogue import fit_policy as fit_policy
from .prices import PriceList as PriceList
from .problem import (
    Answers as Answers,
    Recording as Recording,
)
from .quality import (
    item_quality as item_quality,
    set_quality as set_quality,
    subset_qualities as subset_qualities,
)
from .readers import (
    RecordingSource as RecordingSource,
    open_recording as open_recording,
)
from .record.config import RecordConfig as RecordConfig
from .splits import split_items as split_items
from .vocabulary import (
    Vocabulary as Vocabulary,
    read_vocabulary as read_vocabulary,
)
