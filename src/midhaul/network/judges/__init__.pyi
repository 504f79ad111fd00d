from .kernel import KernelSimulator as KernelSimulator
