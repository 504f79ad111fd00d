from .client import Answer as Answer, Client as Client
from .limits import ServerLimits as ServerLimits
from .message import Item as Item
