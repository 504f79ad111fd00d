from .base import (
    Examples as Examples,
    OnlinePolicy as OnlinePolicy,
    PolicyFamily as PolicyFamily,
    SavedPolicy as SavedPolicy,
    Situation as Situation,
    SubsetPolicy as SubsetPolicy,
)
from .budgets import calibrate as calibrate
from .catalogue import fit_policy as fit_policy
from .check_recordings import check_examples as check_examples
from .replay import Replay as Replay, replay as replay
