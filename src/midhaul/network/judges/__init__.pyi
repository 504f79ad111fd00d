from .kernel import KernelSimulator as KernelSimulator
from .ns3 import Ns3Simulator as Ns3Simulator
