from .access import Access as Access
from .client import ExchangeLimits as ExchangeLimits, RegistryClient as RegistryClient
from .engine import (
    EngineImage as EngineImage,
    known_bytes as known_bytes,
    read_engine as read_engine,
)
from .failures import (
    Patience as Patience,
    RegistryRetries as RegistryRetries,
    all_of as all_of,
)
from .making import (
    MadeImage as MadeImage,
    MadeLayer as MadeLayer,
    PushRecord as PushRecord,
    make_images as make_images,
    push_image as push_image,
)
from .manifests import (
    Platform as Platform,
    Reference as Reference,
    parse_reference as parse_reference,
)
from .puller import LayerPull as LayerPull, PullRecord as PullRecord, Puller as Puller
from .reader import (
    ImageReader as ImageReader,
    ImageRecord as ImageRecord,
    Reading as Reading,
    read_image as read_image,
    read_images as read_images,
    read_layers as read_layers,
    read_wanted as read_wanted,
    write_layers as write_layers,
)
from .resolve import NotOfferedError as NotOfferedError
from .server import RegistryServer as RegistryServer
from .skopeo import SkopeoSource as SkopeoSource
from .store import LayerStore as LayerStore
from .store_index import (
    StoreState as StoreState,
    StoredImage as StoredImage,
    StoredLayer as StoredLayer,
)
