from .accuracy import (
    Judgement as Judgement,
    calibrate_threshold as calibrate_threshold,
    judge as judge,
)
from .adapters import (
    CocoResults as CocoResults,
    DetectionsLike as DetectionsLike,
    as_detections as as_detections,
)
from .checks import check_detector as check_detector
from .data import (
    Dataset as Dataset,
    open_dataset as open_dataset,
)
from .detector import (
    Detector as Detector,
    load_detector as load_detector,
)
from .evaluation import evaluate as evaluate
from .images import Preprocessing as Preprocessing
from .judge_rules import JudgeRules as JudgeRules
