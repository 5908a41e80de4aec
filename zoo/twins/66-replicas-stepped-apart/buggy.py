# After pytorch/pytorch#104336
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main(rank, world, port, seed):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.manual_seed(seed)
    d = load_digits()
    x, y = torch.tensor(d.data / 16).float(), torch.tensor(d.target)
    train_set = TensorDataset(x[:1400], y[:1400])
    sampler = DistributedSampler(train_set, seed=seed)
    loader = DataLoader(train_set, 35, sampler=sampler)
    ddp = DDP(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)))
    opt = torch.optim.SGD(ddp.parameters(), lr=0.2, momentum=0.9)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        ddp.train()
        for a, b in loader:
            loss = nn.functional.cross_entropy(ddp.module(a), b)
            opt.zero_grad()
            loss.backward()
            opt.step()
        ddp.eval()
        if rank == 0:
            with torch.no_grad():
                acc = (ddp.module(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
            print(f"epoch {epoch} accuracy {acc:.4f}", flush=True)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        free_port = s.getsockname()[1]
    mp.spawn(main, args=(2, free_port, int(os.environ.get("SEED", 0))), nprocs=2)
