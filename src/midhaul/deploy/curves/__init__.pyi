from .qos_curve import QosCurve as QosCurve
from .readers import (
    read_awstream as read_awstream,
    read_run as read_run,
    read_table as read_table,
)
from .seed_curves import seed_curve as seed_curve
from .transport import MqttTransport as MqttTransport, charged as charged
