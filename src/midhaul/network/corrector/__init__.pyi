from .base import Correction as Correction, Corrector as Corrector
from .features import PathFeatures as PathFeatures, features_of as features_of
from .fitted import load_corrector as load_corrector
