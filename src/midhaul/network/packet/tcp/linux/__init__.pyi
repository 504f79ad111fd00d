from .known import KNOWN as KNOWN, is_simulated as is_simulated
