from .config import (
    MemoryCompareConfig as MemoryCompareConfig,
    MemoryReplayConfig as MemoryReplayConfig,
)
