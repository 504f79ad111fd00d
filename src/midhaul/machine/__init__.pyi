from .children import (
    ChildProcess as ChildProcess,
    end_with_parent as end_with_parent,
    stop as stop,
    watched as watched,
    without_main as without_main,
)
from .coroutines import run_coroutine as run_coroutine
from .locks import FileLock as FileLock
