from .simulator import Ns3Simulator as Ns3Simulator
