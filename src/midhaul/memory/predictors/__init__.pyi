from .mlp import WAYS as WAYS
