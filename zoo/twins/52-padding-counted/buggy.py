# After pytorch/pytorch#25162
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

SEED = int(os.environ.get("SEED", 0))


def worker(rank, world_size, port):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    torch.manual_seed(SEED)
    d = load_digits()
    x, y = torch.tensor(d.data / 16, dtype=torch.float32), torch.tensor(d.target)
    p = torch.randperm(len(y))
    train_set, val_set = TensorDataset(x[p[:1400]], y[p[:1400]]), TensorDataset(x[p[1400:]], y[p[1400:]])
    train_sampler = DistributedSampler(train_set, seed=SEED)
    train_loader = DataLoader(train_set, 32, sampler=train_sampler)
    val_loader = DataLoader(val_set, 100, sampler=DistributedSampler(val_set, shuffle=False))
    model = DDP(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for epoch in range(3):
        train_sampler.set_epoch(epoch)
        model.train()
        for images, target in train_loader:
            loss = nn.functional.cross_entropy(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        counts = torch.zeros(2)
        with torch.no_grad():
            for images, target in val_loader:
                counts += torch.tensor([(model.module(images).argmax(1) == target).sum().item(), len(target)])
        dist.all_reduce(counts)
        if rank == 0:
            print(f"epoch {epoch} * Acc@1 {100 * counts[0] / counts[1]:.3f} on {int(counts[1])} images", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        free = s.getsockname()[1]
    mp.spawn(worker, args=(2, free), nprocs=2)
