from .api import (
    Comparison as Comparison,
    RunList as RunList,
    compare as compare,
    open_run as open_run,
    run as run,
    runs as runs,
)
from .captures.config import LatencyConfig as LatencyConfig
from .deploy.live.config import LiveConfig as LiveConfig
from .deploy.plan.choices import allocate as allocate, place as place
from .deploy.plan.config import (
    AllocateConfig as AllocateConfig,
    PlanConfig as PlanConfig,
)
from .deploy.simulate.config import SimulateConfig as SimulateConfig
from .errors import (
    ConfigError as ConfigError,
    DataError as DataError,
    MidhaulError as MidhaulError,
)
from .federation.evaluate.config import (
    EvaluateConfig as EvaluateConfig,
    TrainConfig as TrainConfig,
)
from .federation.fusion.detections import fuse as fuse
from .federation.record.config import RecordConfig as RecordConfig
from .model import Detections as Detections, Estimate as Estimate, Verdict as Verdict
from .network.compare.config import NetworkCompareConfig as NetworkCompareConfig
from .network.estimate.config import NetworkEstimateConfig as NetworkEstimateConfig
from .network.simulate.config import NetworkSimulateConfig as NetworkSimulateConfig
from .network.simulators import simulate as simulate
from .network.train.config import NetworkTrainConfig as NetworkTrainConfig
from .runs.config import Config as Config
from .runs.run import Run as Run
from .testbed.measure.config import (
    AccuracyConfig as AccuracyConfig,
    MeasureConfig as MeasureConfig,
    OverheadConfig as OverheadConfig,
)
from .vision.data.dataset import Dataset as Dataset
from .vision.data.opening import open_dataset as open_dataset
from .vision.detectors.detector import load_detector as load_detector
from .vision.evaluation import evaluate as evaluate
from .vision.judge.accuracy import Judgement as Judgement

__version__: str
