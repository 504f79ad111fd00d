from .config import EvaluateConfig as EvaluateConfig, TrainConfig as TrainConfig
