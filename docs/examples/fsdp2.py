"""Train with fully_shard (FSDP2) on several processes (ranks), and save a checkpoint.

Every rank has a part of each parameter, gradient and state. Any number of ranks can load the checkpoint. Start this
example with:

torchrun --nproc-per-node 2 docs/examples/fsdp2.py
"""

import tempfile

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from task import RANK, SIZE, network, report, train
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from fusedstep.torch import AdamW, CheckpointWriter

if SIZE > 1:
    dist.init_process_group("gloo")
model = network()
if SIZE > 1:
    mesh = init_device_mesh("cpu", (SIZE,))
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
optimizer = AdamW(model.parameters(), lr=3e-3, clip_norm=1.0)  # the norm is computed over the parts of all ranks
report(model, train(model, optimizer))

folder = [tempfile.mkdtemp() if RANK == 0 else ""]  # on several machines, use a folder of a shared file system
if SIZE > 1:
    dist.broadcast_object_list(folder)
of_model, of_optimizer = get_state_dict(model, optimizer)
state = {"model": of_model, "optimizer": of_optimizer}
dcp.save(state, storage_writer=CheckpointWriter(folder[0]), no_dist=SIZE == 1)
dcp.load(state, checkpoint_id=folder[0], no_dist=SIZE == 1)  # a run with another number of ranks can load it too
set_state_dict(model, optimizer, model_state_dict=of_model, optim_state_dict=of_optimizer)
if SIZE > 1:
    dist.destroy_process_group()
