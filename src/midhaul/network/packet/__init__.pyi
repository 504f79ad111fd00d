from .simulator import PacketSimulator as PacketSimulator
