"""Train with ZeroRedundancyOptimizer (ZeRO-1) on several processes, the ranks.

Every rank has the whole model, and the optimizer states of some parameters. Start this example with:

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
    # each rank updates some parameters; clip_norm limits the norm over the gradients of all parameters
    optimizer = ZeroRedundancyOptimizer(wrapped.parameters(), AdamW, lr=3e-3, clip_norm=1.0)
else:
    wrapped, optimizer = model, AdamW(model.parameters(), lr=3e-3, clip_norm=1.0)
report(model, train(wrapped, optimizer))
if SIZE > 1:
    dist.destroy_process_group()
