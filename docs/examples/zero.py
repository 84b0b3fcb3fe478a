"""Train with ZeroRedundancyOptimizer (ZeRO-1). Every rank has the whole model, and the states of some parameters.

torchrun --nproc-per-node 2 docs/examples/zero.py
"""

import torch.distributed as dist
from task import SIZE, network, report, train
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from fusedstep.torch import AdamW

if SIZE > 1:
    dist.init_process_group("gloo")
model = network()
if SIZE > 1:
    wrapped = DistributedDataParallel(model)
    optimizer = ZeroRedundancyOptimizer(wrapped.parameters(), AdamW, lr=3e-3, clip_norm=1.0)  # norm over all ranks
else:
    wrapped, optimizer = model, AdamW(model.parameters(), lr=3e-3, clip_norm=1.0)
report(model, train(wrapped, optimizer))
if SIZE > 1:
    dist.destroy_process_group()
