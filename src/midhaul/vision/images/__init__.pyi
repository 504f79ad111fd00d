from .codecs import decode as decode, size as size
from .image import (
    PreparedImage as PreparedImage,
    Preprocessing as Preprocessing,
    prepare as prepare,
)
from .limits import DecodingLimits as DecodingLimits
