from .simulation import begin_rdma as begin_rdma
