"""Every packet: an event-driven simulator of RDMA and TCP on flat arrays (Numba)."""
