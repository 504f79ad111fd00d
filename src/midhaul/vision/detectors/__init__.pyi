from .checks import check_detector as check_detector
from .detector import Detector as Detector, load_detector as load_detector
