from .connection import (
    Connection as Connection,
    ConnectionLostError as ConnectionLostError,
    Login as Login,
    VersionRefusedError as VersionRefusedError,
    Will as Will,
)
from .packets import Publish as Publish
