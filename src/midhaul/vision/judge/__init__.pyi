from .accuracy import (
    Judgement as Judgement,
    calibrate_threshold as calibrate_threshold,
    judge as judge,
)
from .matching import JudgeRules as JudgeRules
