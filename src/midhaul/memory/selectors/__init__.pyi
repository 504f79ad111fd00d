from .catalogue import SELECTORS as SELECTORS
