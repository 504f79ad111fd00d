from .frames import (
    FrameNovelty as FrameNovelty,
    frame_inputs as frame_inputs,
    frame_samples as frame_samples,
)
from .predictors.base import Predictor as Predictor
from .predictors.mlp import MlpPredictor as MlpPredictor, TrainSettings as TrainSettings
from .predictors.onnx_net import OnnxPredictor as OnnxPredictor
from .retraining.base import (
    RetrainDecision as RetrainDecision,
    RetrainRule as RetrainRule,
)
from .retraining.block_test import BlockTest as BlockTest
from .rule_checks import check_rule as check_rule
from .sample_memory import Offered as Offered, SampleMemory as SampleMemory
from .samples import Bins as Bins, Samples as Samples
from .selectors.base import Reason as Reason, Selector as Selector
from .checks import check_selector as check_selector
from .selectors.coverage import CoverageMemory as CoverageMemory
from .selectors.priority import PrioritySampler as PrioritySampler
from .selectors.reservoir import Reservoir as Reservoir
from .sources.drawn_stream import drawn_stream as drawn_stream
from .sources.streams import (
    StreamSet as StreamSet,
    cellular_stream as cellular_stream,
    puffer_stream as puffer_stream,
)
