from .config import RecordConfig as RecordConfig
