from .catalogue import RULES as RULES
