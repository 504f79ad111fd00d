from .base import FeatureExtractor as FeatureExtractor
from .embedding import OnnxEmbedding as OnnxEmbedding
