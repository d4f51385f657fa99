"""Small tokenizers in the layouts of today's families, and the ids that Hugging Face's own library gives:

    pip install tokenizers==0.23.2 && python3 families.py > families.json
"""
import json
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CORPUS = [
    "The quick brown fox doesn't jump over the 12345 lazy dogs; it's 2024 and they're sleeping.\n\n",
    "HelloWorld parseHTTPRequest fooBar XMLHttp don't DON'T we'll I'm\n  indented   line\n\tdef f(x):\n\t\treturn x + 1\n",
    "Größe café naïve Übung, 東京タワー 日本語 Москва привет мир, 1 2 3 100 1000000, a/b//c http://x.y/z\r\n",
    "lower slower lowest newest widest, low low low, the the the, ing ing tion tion and and\n",
] * 3

TEXTS = [
    "Hello world, it's 2024!", "don't DON'T Don'T we'LL", "HelloWorldABC abcDEF XMLHttpRequest2go", "12345678 1 23 ٣٤٥ ½ Ⅳ",
    "  two  spaces   3 and 4   \n\n\n  x\t\ty \r\n end  ", "cafe\u0301 vs café, A\u030angstro\u0308m e\u0301\u0323", "日本語と東京タワー123abc", "привет Мир МИР",
    "a/b//c?d=1&e=f#g///\n\n", "🦕🎉 emoji 👩‍👩‍👧 ok", "ǅungla ʰmod \u0903\u0301 x\u0301y", "  leading", "trailing  ", "\n", " ", "▁mark ▁▁ marks",
    "x = [1, 2, 3];\n    return x['k'] // 7\n", "naïve\u00a0space\u3000wide\u2028line\ufeffbom", "'s 's'S 'ſ", "<|im_start|>user\nHi<|im_end|>", "a <|end|>  b<|end|>\n\nc",
    "<think> so </think> \n\n\n\t\tx", "lowest  newest\n\n\n\nwidest",
]

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def plain(content, special=True, **flags):
    return AddedToken(content, special=special, normalized=False, **flags)


def byte_level(pre, merges, ignore_merges=False, normalizer=None, added=()):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([plain(one) for one in SPECIAL])
    tokenizer.add_tokens(list(added))
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentence_piece(merges, added=()):
    """Characters and merges of a trained model, and the bytes, as SentencePiece has them."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=merges, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    kept = [token for token in model["vocab"] if len(token) > 1 or ord(token) < 0x2600]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + kept + [one.content for one in added if one.content not in kept]
    pairs = [tuple(pair) for pair in model["merges"] if pair[0] + pair[1] in kept and pair[0] in kept and pair[1] in kept]
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_tokens([plain(one) for one in tokens[:3]])
    tokenizer.add_tokens(list(added))
    return tokenizer


def with_spaces(tokenizer, normalizer, pre, strip):
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))
    return tokenizer


replace = normalizers.Replace(" ", "▁")
end = [plain("<|end|>", rstrip=True), plain("<|both|>", False, lstrip=True, rstrip=True), plain("<|user|>", lstrip=True)]
TOKENIZERS = {
    "Qwen 2.5 and 3": byte_level(split(QWEN), 90, normalizer=normalizers.NFC(), added=[plain("<think>", False), plain("</think>", False)]),
    "SmolLM 2": byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), 90),
    "SmolLM 3 and LLaMA 3": byte_level(split(GPT4), 90, ignore_merges=True),
    "Mistral's Tekken": byte_level(split(TEKKEN), 90, ignore_merges=True),
    "Phi 4": byte_level(split(GPT4O, "removed", True), 90, added=end),
    "Gemma 3": with_spaces(
        sentence_piece(170, [plain("\n\n", False), plain("\n\n\n", False), plain("\t\t", False), plain("▁▁", False)]),
        replace, pre_tokenizers.Split(" ", "merged_with_previous"), False),
    "Phi 3": with_spaces(sentence_piece(170, end), normalizers.Sequence([normalizers.Prepend("▁"), replace]), None, True),
    "Mistral 7B v0.3": with_spaces(sentence_piece(170), None, pre_tokenizers.Metaspace("▁", "first", False), True),
}
found = {}
for name, tokenizer in TOKENIZERS.items():
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    texts = [tokenizer.decode(one, skip_special_tokens=False) for one in ids]
    found[name] = {"file": json.loads(tokenizer.to_str()), "ids": ids, "decoded": texts}
print(json.dumps({"texts": TEXTS, "tokenizers": found}, ensure_ascii=True, separators=(",", ":")))
