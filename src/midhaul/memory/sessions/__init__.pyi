from .ladder import Ladder as Ladder, drawn_ladder as drawn_ladder
from .player import play as play
