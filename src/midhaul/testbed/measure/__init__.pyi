from .config import (
    AccuracyConfig as AccuracyConfig,
    MeasureConfig as MeasureConfig,
    OverheadConfig as OverheadConfig,
)
from .from_config import Configuration as Configuration, expand as expand
from .validity import judge_percentile as judge_percentile
