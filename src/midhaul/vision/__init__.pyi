from .adapters import (
    CocoResults as CocoResults,
    DetectionsLike as DetectionsLike,
    as_detections as as_detections,
)
from .data.dataset import Dataset as Dataset
from .data.opening import open_dataset as open_dataset
from .detectors.checks import check_detector as check_detector
from .detectors.detector import Detector as Detector, load_detector as load_detector
from .evaluation import evaluate as evaluate
from .images.image import Preprocessing as Preprocessing
from .judge.accuracy import (
    Judgement as Judgement,
    calibrate_threshold as calibrate_threshold,
    judge as judge,
)
from .judge.matching import JudgeRules as JudgeRules
