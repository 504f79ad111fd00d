from .ladder import drawn_ladder as drawn_ladder
from .player import play as play
