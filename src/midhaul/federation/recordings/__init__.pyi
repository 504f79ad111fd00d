from .findings import FindingCounter as FindingCounter
from .parquet import read_parquet as read_parquet
from .problem import (
    Answers as Answers,
    Recording as Recording,
    split_items as split_items,
)
from .source import RecordingSource as RecordingSource, open_recording as open_recording
from .vocabulary import Vocabulary as Vocabulary, read_vocabulary as read_vocabulary
