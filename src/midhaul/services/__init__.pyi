from .federation_application import FederationApplication as FederationApplication
from .http import HttpError as HttpError, ServerLimits as ServerLimits
from .node import Application as Application
