from .known import is_simulated as is_simulated
