"""Tokens/s of training steps of GPT-2 124M with PyTorch on this machine's GPU, as lines of JSON for bench/gpu.ts.

In f32 (TF32 off) and with bfloat16 autocast, each compiled and not; the median of ten steps.
"""
import json
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    sys.exit()
if not torch.cuda.is_available():
    sys.exit()

V, T, E, L, H = 50304, 1024, 768, 12, 12


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(E), nn.LayerNorm(E)
        self.c_attn, self.c_proj = nn.Linear(E, 3 * E), nn.Linear(E, E)
        self.c_fc, self.out = nn.Linear(E, 4 * E), nn.Linear(4 * E, E)

    def forward(self, x):
        b, t, _ = x.shape
        heads = (y.view(b, t, H, E // H).transpose(1, 2) for y in self.c_attn(self.ln_1(x)).split(E, 2))
        y = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, E))
        return x + self.out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, E), nn.Embedding(T, E)
        self.h, self.ln_f = nn.Sequential(*[Block() for _ in range(L)]), nn.LayerNorm(E)

    def forward(self, x, y):
        h = self.ln_f(self.h(self.wte(x) + self.wpe.weight))
        return F.cross_entropy(F.linear(h, self.wte.weight).view(-1, V).float(), y.view(-1))


def run(batch, half, compiled):
    torch.manual_seed(0)
    model = GPT().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if compiled else model
    x = torch.randint(V, (batch, T), device="cuda")
    times = []
    for _ in range(14):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            loss = forward(x, x.roll(-1, 1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    median = sorted(times[4:])[5]
    name = f"{'bf16' if half else 'f32'}{', compiled' if compiled else ''} {batch} x {T}"
    section = "training step of GPT-2 124M"
    figure = {"section": section, "name": name, "value": batch * T / median, "unit": "tokens/s", "note": f"{median * 1e3:.1f} ms"}
    print(json.dumps(figure), flush=True)


torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
for half, compiled, batch in (False, False, 8), (True, False, 32), (True, True, 32):
    try:
        run(batch, half, compiled)
    except Exception as error:
        print(error, file=sys.stderr)
