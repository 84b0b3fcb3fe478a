"""Train with DistributedDataParallel on several processes, the ranks.

Every rank has the whole model and all states of the optimizer. Start this example with:

torchrun --nproc-per-node 2 docs/examples/ddp.py
"""

import torch.distributed as dist
from task import SIZE, network, report, train
from torch.nn.parallel import DistributedDataParallel

from fusedstep.torch import AdamW

if SIZE > 1:
    dist.init_process_group("gloo")
model = network()
wrapped = DistributedDataParallel(model) if SIZE > 1 else model
optimizer = AdamW(wrapped.parameters(), lr=3e-3, clip_norm=1.0)  # every rank has all gradients and computes their norm
report(model, train(wrapped, optimizer))
if SIZE > 1:
    dist.destroy_process_group()
