from .federation_application import FederationApplication as FederationApplication
from .http import HttpError as HttpError
from .limits import ServerLimits as ServerLimits
from .node_application import Application as Application
