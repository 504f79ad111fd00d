from .config import NetworkTrainConfig as NetworkTrainConfig
