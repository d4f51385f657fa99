# A small LLaMA with random weights as GGUF, written from the format's description alone: python3 random_llama.py FILE
import sys, struct
import numpy as np

E, LAYERS, H, HKV, F, V, T = 256, 3, 4, 2, 512, 1000, 256
rng = np.random.default_rng(1)
tensors = []

def text(x):
    b = x.encode()
    return struct.pack('<Q', len(b)) + b

def add(name, *shape):
    x = rng.standard_normal(shape).astype('<f4') * 0.05 if len(shape) > 1 else np.ones(shape, '<f4')
    tensors.append((name, shape[::-1], x.astype('<f4').tobytes()))

add('token_embd.weight', V, E)
for i in range(LAYERS):
    add(f'blk.{i}.attn_norm.weight', E)
    add(f'blk.{i}.attn_q.weight', E, E)
    add(f'blk.{i}.attn_k.weight', E * HKV // H, E)
    add(f'blk.{i}.attn_v.weight', E * HKV // H, E)
    add(f'blk.{i}.attn_output.weight', E, E)
    add(f'blk.{i}.ffn_norm.weight', E)
    add(f'blk.{i}.ffn_gate.weight', F, E)
    add(f'blk.{i}.ffn_up.weight', F, E)
    add(f'blk.{i}.ffn_down.weight', E, F)
add('output_norm.weight', E)
add('output.weight', V, E)

values = []
u32 = lambda key, x: values.append(text(key) + struct.pack('<II', 4, x))
string = lambda key, x: values.append(text(key) + struct.pack('<I', 8) + text(x))
array = lambda key, of, x: values.append(text(key) + struct.pack('<IIQ', 9, of, V) + x)
string('general.architecture', 'llama')
for key, x in (('context_length', T), ('embedding_length', E), ('block_count', LAYERS), ('feed_forward_length', F),
               ('attention.head_count', H), ('attention.head_count_kv', HKV), ('rope.dimension_count', E // H)):
    u32('llama.' + key, x)
values.append(text('llama.attention.layer_norm_rms_epsilon') + struct.pack('<If', 6, 1e-5))
string('tokenizer.ggml.model', 'llama')
tokens = ['<unk>', '<s>', '</s>'] + [f'<0x{i:02X}>' for i in range(256)] + [f't{i}' for i in range(V - 259)]
array('tokenizer.ggml.tokens', 8, b''.join(map(text, tokens)))
array('tokenizer.ggml.scores', 6, np.arange(0, -V, -1).astype('<f4').tobytes())
array('tokenizer.ggml.token_type', 5, np.array([2, 3, 3] + [6] * 256 + [1] * (V - 259), '<i4').tobytes())
u32('tokenizer.ggml.bos_token_id', 1)
u32('tokenizer.ggml.eos_token_id', 2)

header, offset = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(values)) + b''.join(values), 0
for name, lengths, data in tensors:
    header += text(name) + struct.pack('<I', len(lengths)) + b''.join(struct.pack('<Q', n) for n in lengths)
    header += struct.pack('<IQ', 0, offset)
    offset += -(-len(data) // 32) * 32
with open(sys.argv[1], 'wb') as out:
    out.write(header + b'\0' * (-len(header) % 32))
    for *_, data in tensors:
        out.write(data + b'\0' * (-len(data) % 32))
