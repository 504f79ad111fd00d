from .application import Application as Application
from .federation_application import FederationApplication as FederationApplication
from .http import HttpError as HttpError
from .limits import ServerLimits as ServerLimits
