from .base import (
    Examples as Examples,
    OnlinePolicy as OnlinePolicy,
    PolicyFamily as PolicyFamily,
    Replay as Replay,
    SavedPolicy as SavedPolicy,
    Situation as Situation,
    SubsetPolicy as SubsetPolicy,
    replay as replay,
)
from .budgets import calibrate as calibrate
from .catalogue import fit_policy as fit_policy
from .checks import check_examples as check_examples
