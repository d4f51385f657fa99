"""PyTorch on the CPU: the matrix product, the GPT's training step and its greedy decoding on a cache.

Driven by `contender.ts` as the programs of Deno are: orders on standard input, one JSON line each, answers on standard
output. Needs Debian's `python3-torch`, or another PyTorch that `python3` finds.
"""
import ctypes
import json
import math
import os
import sys
import time


def start_with_all():
    """Starts again with all cores, and with AVX where OpenBLAS is older than the processor and takes it for a Prescott."""
    env = {"OMP_NUM_THREADS": str(os.cpu_count())}
    try:
        core = ctypes.CDLL("libopenblas.so.0").openblas_get_corename
        core.restype = ctypes.c_char_p
        flags = open("/proc/cpuinfo").read()
        if core() == b"Prescott" and "avx2" in flags:
            env["OPENBLAS_CORETYPE"] = "SkylakeX" if "avx512dq" in flags else "Haswell"
    except OSError:
        pass  # another BLAS, or another system
    missing = {name: value for name, value in env.items() if name not in os.environ}
    if missing:
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, *sys.argv])


start_with_all()

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VOCAB, CONTEXT, WIDTH, LAYERS, HEADS, HIDDEN = 756, 256, 384, 4, 6, 1536
BATCH, FROM, UNTIL = 4, 16, 240


def hashed(count, seed):
    """`hash` of workload.ts."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed * 40503)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    return x ^ (x >> np.uint32(13))


def uniform(rows, columns, seed, scale=0.07):
    values = (hashed(rows * columns, seed) / 2.0**32 - 0.5) * scale
    return torch.from_numpy(values.astype(np.float32)).view(rows, columns)


def ids_of(count, seed):
    return torch.from_numpy((hashed(count, seed) % VOCAB).astype(np.int64))


class Linear(nn.Linear):
    """The weights of workload.ts are (inputs, outputs)."""

    def __init__(self, inputs, outputs, seed):
        super().__init__(inputs, outputs)
        self.weight.data = uniform(inputs, outputs, seed).t().contiguous()
        self.bias.data.zero_()


class Block(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = Linear(WIDTH, 3 * WIDTH, seed)
        self.proj = Linear(WIDTH, WIDTH, seed + 1)
        self.up = Linear(WIDTH, HIDDEN, seed + 2)
        self.down = Linear(HIDDEN, WIDTH, seed + 3)

    def forward(self, x, mask, cache, start):
        batch, time, width = x.shape
        qkv = self.qkv(self.ln1(x)).view(batch, time, 3, HEADS, width // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache[0][:, :, start:start + time], cache[1][:, :, start:start + time] = k, v
            k, v = cache[:, :, :, :start + time]
        y = attention(q, k, v, mask).transpose(1, 2).reshape(batch, time, width)
        x = x + self.proj(y)
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))


def attention(q, k, v, mask):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    return scores.softmax(-1) @ v


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok = nn.Parameter(uniform(VOCAB, WIDTH, 0))
        self.pos = nn.Parameter(uniform(CONTEXT, WIDTH, 1))
        self.blocks = nn.ModuleList(Block(2 + 4 * i) for i in range(LAYERS))
        self.ln = nn.LayerNorm(WIDTH)
        self.register_buffer("mask", torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1))

    def forward(self, ids, caches=(None,) * LAYERS, start=0):
        time = ids.shape[1]
        x = F.embedding(ids, self.tok) + self.pos[start:start + time]
        mask = None if time == 1 else self.mask[:time, :time]
        for block, cache in zip(self.blocks, caches):
            x = block(x, mask, cache, start)
        return self.ln(x)


class Product:
    def __init__(self, n):
        self.a, self.b = (uniform(n, n, seed, 1) for seed in (1, 2))

    def run(self, repeats):
        for _ in range(repeats):
            self.a @ self.b


class Train:
    def __init__(self, _):
        self.model, self.losses = GPT(), []
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim == 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8)
        stream = ids_of(BATCH * CONTEXT + 1, 777)
        self.ids, self.targets = stream[:-1].view(BATCH, CONTEXT), stream[1:]

    def run(self, repeats):
        for _ in range(repeats):
            logits = F.linear(self.model(self.ids), self.model.tok)
            loss = F.cross_entropy(logits.view(-1, VOCAB), self.targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.item())

    def report(self):
        return {"losses": self.losses[:3]}


class Decode:
    def __init__(self, batch):
        self.model, self.batch = GPT(), batch
        self.prompts = torch.stack([ids_of(FROM, 778 + row) for row in range(batch)])

    def caches(self):
        return torch.empty(LAYERS, 2, self.batch, HEADS, CONTEXT, WIDTH // HEADS)

    @torch.no_grad()
    def next(self, ids, caches, start):
        hidden = self.model(ids, caches, start)[:, -1]
        return F.linear(hidden, self.model.tok).argmax(-1, keepdim=True)

    def run(self, repeats):
        for _ in range(repeats):
            caches, found = self.caches(), []
            last, start = self.prompts, 0
            for end in range(FROM, UNTIL):
                last, start = self.next(last, caches, start), end
                found.append(last)
            self.found = torch.cat(found, 1)

    def milliseconds(self, start):
        """Of a step among the sixteen that follow `start` tokens in the cache."""
        rounds = []
        for _ in range(5):
            caches = self.caches().zero_()
            last = self.prompts[:, :1]
            begun = time.perf_counter()
            for position in range(start, start + 16):
                last = self.next(last, caches, position)
            rounds.append((time.perf_counter() - begun) / 16 * 1e3)
        return sorted(rounds)[2]

    def report(self):
        tail = self.found[0, :8].tolist()
        return {"tail": tail, "early": self.milliseconds(FROM), "late": self.milliseconds(UNTIL - 16)}


def main():
    def answer(value):
        print("\x01" + json.dumps(value), flush=True)

    answer(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    work = None
    for line in sys.stdin:
        order = json.loads(line)
        if "prepare" in order:
            work = {"matmul": Product, "train": Train, "decode": Decode}[order["prepare"]](order["size"])
            answer(True)
        elif "run" in order:
            begun = time.perf_counter()
            work.run(order["run"])
            answer((time.perf_counter() - begun) * 1e3)
        else:
            answer(work.report())


main()
