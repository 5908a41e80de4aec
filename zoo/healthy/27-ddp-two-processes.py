"""DistributedDataParallel on two processes: set_epoch, no padding in evaluation, counts reduced."""
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset


def run(rank, world, port, seed):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.manual_seed(seed)
    d = load_digits()
    x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
    train, val = TensorDataset(x[:1401], y[:1401]), TensorDataset(x[1401:], y[1401:])
    sampler = DistributedSampler(train, shuffle=True, seed=seed)
    loader = DataLoader(train, 25, sampler=sampler)
    val_loader = DataLoader(Subset(val, range(rank, len(val), world)), 100)
    net = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        net.train()
        for a, b in loader:
            opt.zero_grad()
            nn.functional.cross_entropy(net(a), b).backward()
            opt.step()
        net.eval()
        count = torch.zeros(2)
        with torch.no_grad():
            for a, b in val_loader:
                count += torch.tensor([(net.module(a).argmax(1) == b).sum(), len(b)])
        dist.all_reduce(count)
        if rank == 0:
            print(f"epoch {epoch} accuracy {count[0] / count[1]:.4f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(run, (2, port, int(os.environ.get("SEED", 0))), nprocs=2)
