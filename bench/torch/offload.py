"""Train a bfloat16 transformer on a GPU with an optimizer on the CPU. Compare two such optimizers.

The two optimizers are our OffloadedOptimizer, and torch's AdamW with a loop that copies gradients and parameters.
``python -m bench.torch.offload`` prints the time of a training step, the peak memory of the GPU and of the process, and
the losses. Then it prints the time of the optimizer's step for 1, 2, 4, ... threads.

The command takes less than ten minutes on an H100 with 16 cores. To try the command without a GPU, use
``--layers 2 --width 64``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

VOCABULARY, BATCH, LENGTH, WARM = 32_000, 8, 512, 2
WAYS = {
    "ours": "OffloadedOptimizer(AdamW)",
    "torch": "torch.optim.AdamW(fused=True) on float32 copies in the CPU's memory, and a loop that copies",
}
SECONDS = 240  # time limit of the process of one optimizer


def require_interface() -> None:
    """Raise an error if this version of torch lacks the interface through which fusedstep reads tensors."""
    import torch

    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        raise SystemExit(f"torch must have DLPack's exchange interface (torch 2.13 has it); got {torch.__version__}")


def transformer(layers: int, width: int, device: Any) -> Any:
    """Return a causal language model. A model of 18 layers of width 2048 has about a billion parameters."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = torch.nn.TransformerEncoderLayer(
                width, width // 64, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.tokens = torch.nn.Embedding(VOCABULARY, width)
            self.layers = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.out = torch.nn.Linear(width, VOCABULARY, bias=False)

        def forward(self, x: Any) -> Any:
            mask = torch.nn.Transformer.generate_square_subsequent_mask(
                x.shape[1], device=x.device, dtype=torch.bfloat16
            )
            return self.out(self.layers(self.tokens(x), mask=mask, is_causal=True))

    torch.manual_seed(0)
    return Model().to(device=device, dtype=torch.bfloat16)


class ByHand:
    """torch's AdamW on float32 copies of the parameters in the CPU's memory.

    A step copies the gradients to the CPU, and copies the new parameters back to the device.
    """

    def __init__(self, model: Any, lr: float) -> None:
        import torch

        self.params = list(model.parameters())
        pin = torch.cuda.is_available()
        self.masters = [p.detach().to("cpu", torch.float32) for p in self.params]
        self.gradients = [torch.empty(p.shape, dtype=p.dtype, pin_memory=pin) for p in self.params]
        self.optimizer = torch.optim.AdamW(self.masters, lr=lr, fused=True)

    def step(self) -> None:
        """Copy the gradients to the CPU, step, and copy the parameters back."""
        import torch

        for p, gradient in zip(self.params, self.gradients, strict=True):
            gradient.copy_(p.grad, non_blocking=True)
            p.grad = None
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        for master, gradient in zip(self.masters, self.gradients, strict=True):
            master.grad = gradient.float()
        self.optimizer.step()
        with torch.no_grad():
            for p, master in zip(self.params, self.masters, strict=True):
                p.copy_(master)

    def zero_grad(self) -> None:
        """Do nothing, because `step` has already removed the gradients."""


def train(way: str, layers: int, width: int, steps: int) -> dict[str, Any]:
    """Train in this process. Return the number of parameters, the time of a training step, the peak memory, the losses.

    `way` is "ours" or "torch", a name in WAYS.
    """
    import torch

    from fusedstep.torch import AdamW, OffloadedOptimizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = transformer(layers, width, device)
    optimizer: Any = ByHand(model, 1e-4) if way == "torch" else OffloadedOptimizer(AdamW, model, lr=1e-4)
    times, losses = [], []
    for step in range(steps):
        tokens = torch.randint(
            VOCABULARY // 100, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(step % 4)
        )
        tokens = tokens.to(device)
        start = time.perf_counter()
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))  # waits for the device
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": statistics.median(times[WARM:]),
        "gpu_gib": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0,
        "cpu_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "losses": losses,
    }


def scaling(parameters: int) -> list[tuple[int, float, float]]:
    """Return (threads, our time, time of torch's fused AdamW) in milliseconds, for 1, 2, 4, ... threads."""
    import torch

    import fusedstep as fs
    from fusedstep.torch import AdamW

    p = torch.nn.Parameter(torch.zeros(parameters))
    p.grad = torch.ones_like(p)
    found = []
    most, threads = fs.num_threads(), 1
    while threads <= most:
        torch.set_num_threads(threads)
        row = []
        for optimizer in (AdamW([p], num_threads=threads), torch.optim.AdamW([p], fused=True)):
            times = []
            for _ in range(7):
                start = time.perf_counter()
                optimizer.step()
                times.append(1e3 * (time.perf_counter() - start))
            row.append(statistics.median(times[2:]))
        found.append((threads, row[0], row[1]))
        threads *= 2
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.torch.offload", description=__doc__)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--elements", type=int, default=100_000_000, help="parameters in the last measurement")
    parser.add_argument("--way", choices=WAYS, help="train only with this optimizer, in this process")
    args = parser.parse_args()
    require_interface()
    if args.way:
        print(json.dumps(train(args.way, args.layers, args.width, args.steps)))
        return
    shape = ["--layers", str(args.layers), "--width", str(args.width), "--steps", str(args.steps)]
    for name, what in WAYS.items():
        command = [sys.executable, "-m", "bench.torch.offload", "--way", name, *shape]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
        if done.returncode:
            print(f"{what}: failed")
            continue
        f = json.loads(done.stdout.splitlines()[-1])
        memory = f"{f['gpu_gib']:.1f} GiB on the GPU, {f['cpu_gib']:.1f} GiB in the CPU's memory"
        print(f"{what}: {f['parameters'] / 1e6:.0f} million parameters, {f['seconds']:.3f} s per step, {memory}")
        print("  losses", " ".join(f"{loss:.3f}" for loss in f["losses"]), flush=True)
    for threads, ours, theirs in scaling(args.elements):
        print(f"AdamW's step, {threads} threads: fusedstep {ours:.1f} ms, torch fused {theirs:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
