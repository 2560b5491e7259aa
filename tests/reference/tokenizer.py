#!/usr/bin/env python3
"""Golden files of the tokenizer, from Hugging Face `tokenizers`, and the larger comparisons that are not committed.

    tests/reference/tokenizer.py                       writes tests/golden/tokenizer/
    tests/reference/tokenizer.py --check build/ingot   trains and encodes side by side: random texts, all code points,
                                                       and the King James text (bible -f) at 1776, 8192 and 32768
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "tokenizer"
MODERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), byte_level(False)])


PATTERNS = {
    "gpt-2": lambda: byte_level(True),
    "llama-bpe": lambda: split(MODERN % r"\p{N}{1,3}"),
    "qwen2": lambda: split(MODERN % r"\p{N}"),
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    # Not known by name: through PCRE2.
    "custom": lambda: pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
        pre_tokenizers.Split(Regex("[一-龥぀-ゟ゠-ヿ]+"), "isolated"),
        pre_tokenizers.Split(Regex(r"[!-/:-~]?[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
                                   r"|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        byte_level(False)]),
}

LEARNT = """It's the cat's hat; they'll say we've been 'tis-ing. HE'S HERE, I'M SURE!
In 1984, 12345 sheep and 7 cows: 3.14159 times 2,718 (x == y && y != z);
    def f(x):\treturn x  # four spaces, a tab
naïve café, Straße, Ελληνικά, Русский текст, 日本語のテキスト, 한국어, ไทย, हिन्दी
-- -- ---- -------- ......... 😀😀 👩‍👩‍👧 é é
the the the there then they them these other mother another
"""

CASES = [
    "", " ", "  ", "a", " a", "  a", "a ", "a  ", "\n", "\n\n", " \n ", "a\n\nb", "a \n b", "\r\n", "a\r\n\r\nb", "\t\tx",
    "Hello, world!", "It's John's; they'LL say WE'VE 'em", "don't DON'T don''t 'tis ''s 's' '", "x'ſ y'S z'\u212a",
    "1", "12", "123", "1234567", "a1b22c333d4444", " 12 34  56", "٣٤٥ Ⅷ ½ 一二三 ൫", "3.14e-10 0xFF 1,000,000",
    "tabs\tand\u00a0nbsp \u3000ideographic\u2028line\u2029para\u0085next\u180evowel\u200bzero",
    "日本語のテキスト、それと漢字。", "Русский текст и ещё", "한국어 텍스트", "ไทยภาษา", "हिन्दी में", "عربى ١٢٣",
    "e\u0301 \u00e9 A\u030a \u212b ﬁ Å", "😀 👩‍👩‍👧‍👦 🇩🇪 ☃️ \U0010ffff",
    "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<|endoftext", "<<|endoftext|>>",
    "x <mask> y", "x<mask>y", "  <mask>  z", "<tool>call</tool>", "the word other word others", "Café <é> <e\u0301>",
    "if (x == y) {\n    return z->w;\n}\n\n\n// end", "http://a.b/c?d=e&f=g#h", "a" * 100, "ab" * 40, "-" * 77, " " * 33 + "x",
    "#$%^&*()", "...!!!???", "“quotes” — dash… ‘single’", "\x01\x1b\x7f", "_under_score_", "CamelCaseWords", "ſ K Å",
]


def random_text(rng, length):
    pools = ["abcxyz", "ABSTRE", "0123456789", "    ", "\n\r\t", "'''stmdrevl", ".,;:!?-_()<>|", "éßñüø", "日本語漢字かな",
             "ЖЩЯабв", "٣٤५६", "½Ⅷ²", "\u00a0\u3000\u2003\u0085", "e\u0301a\u0308", "😀👩\u200d🇩", "\u1100\u1161\u11a8"]
    return "".join(rng.choice(rng.choice(pools)) for _ in range(length))


def trained(pattern, text_files, vocab_size, normalizer=None, specials=("<|endoftext|>",)):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = PATTERNS[pattern]()
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(specials), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train([str(f) for f in text_files], trainer)
    return t


def ids_of(t, text, plain):
    t.encode_special_tokens = plain
    return t.encode(text, add_special_tokens=False).ids


def write_golden():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    texts = CASES + [random_text(rng, rng.randrange(1, 60)) for _ in range(40)]
    with tempfile.TemporaryDirectory() as folder:
        learnt = pathlib.Path(folder) / "learnt.txt"
        learnt.write_text(LEARNT, newline="")
        for pattern in PATTERNS:
            t = trained(pattern, [learnt], 340, normalizers.NFC() if pattern == "qwen2" else None)
            t.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, special=True, normalized=False),
                          AddedToken("<tool>", special=False, normalized=False),
                          AddedToken("</tool>", special=False, normalized=False),
                          AddedToken("word", single_word=True, normalized=False),
                          AddedToken("<é>", normalized=True)])
            path = GOLDEN / f"{pattern}.json"
            document = json.loads(t.to_str())
            if pattern == "llama-bpe":
                document["model"]["ignore_merges"] = True
                # A word that merging alone would not find: only ignore_merges makes it one id.
                document["model"]["merges"] = [m for m in document["model"]["merges"] if "".join(m) != "Ġthem"]
            if pattern == "gpt-2":  # the older spelling of merges
                document["model"]["merges"] = [" ".join(m) for m in document["model"]["merges"]]
            path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
            t = Tokenizer.from_str(path.read_text())
            cases = [{"text": x, "ids": ids_of(t, x, False), "plain": ids_of(t, x, True)} for x in texts]
            (GOLDEN / f"{pattern}.cases.json").write_text(
                "[" + ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases) + "]\n")
        golden_training(learnt)


def golden_training(learnt):
    """What training gives on LEARNT for each named pattern: the text itself, and the entries in order of their ids."""
    runs = []
    for pattern in ("gpt-2", "llama-bpe", "qwen2", "smollm"):
        t = trained(pattern, [learnt], 400, specials=("<|endoftext|>", "<pad>"))
        vocabulary = sorted(t.get_vocab().items(), key=lambda entry: entry[1])
        merges = [list(m) for m in json.loads(t.to_str())["model"]["merges"]]
        runs.append({"pattern": pattern, "vocab_size": 400, "tokens": [token for token, _ in vocabulary], "merges": merges})
    (GOLDEN / "training.json").write_text(
        json.dumps({"text": LEARNT, "specials": ["<|endoftext|>", "<pad>"]}, ensure_ascii=True)[:-1] + ', "runs": [\n'
        + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in runs) + "]}\n")


# ---- side by side ----


def ingot_trained(ingot, files, vocab_size, pattern, folder):
    out = folder / "ingot.json"
    subprocess.run([ingot, "tokenizer", "train", "--quiet", "--vocab-size", str(vocab_size), "--pattern", pattern, "--output", out,
                    *files], check=True, capture_output=True)
    return json.loads(out.read_text())


def same_training(ingot, files, vocab_size, pattern, folder):
    theirs = json.loads(trained(pattern, files, vocab_size).to_str())["model"]
    ours = ingot_trained(ingot, files, vocab_size, pattern, folder)["model"]
    merges = [m.split(" ") if isinstance(m, str) else m for m in ours["merges"]]
    if ours["vocab"] != theirs["vocab"]:
        return f"vocabularies differ ({len(ours['vocab'])} and {len(theirs['vocab'])} entries)"
    for i, (a, b) in enumerate(zip(merges, theirs["merges"])):
        if a != b:
            return f"merge {i} is {a}, theirs {b}"
    return None if len(merges) == len(theirs["merges"]) else "numbers of merges differ"


def pairs_tokenizer(pattern):
    """Every two bytes merge, so that a word cut elsewhere gives other ids. Text-like merges would hide most cuts."""
    t = Tokenizer(models.BPE())
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b) for a in letters for b in letters]
    random.Random(3).shuffle(pairs)
    vocab = {token: i for i, token in enumerate(letters + [a + b for a, b in pairs])}
    t.model = models.BPE(vocab=vocab, merges=pairs)
    t.pre_tokenizer = PATTERNS[pattern]()
    return t


def ingot_ids(ingot, tokenizer, lines, folder):
    """Ids of each line, which has no line end in it."""
    source = folder / "lines.txt"
    source.write_bytes("".join(line + "\n" for line in lines).encode())
    out = subprocess.run([ingot, "tokenizer", "encode", "--tokenizer", tokenizer, source], check=True, capture_output=True).stdout
    return [[int(i) for i in line.split()] for line in out.decode().split("\n")[:len(lines)]]


def check(ingot):
    failed = 0

    def report(what, difference):
        nonlocal failed
        failed += difference is not None
        print(f"{'equal' if difference is None else 'DIFFERENT'}  {what}{'' if difference is None else ': ' + difference}", flush=True)

    rng = random.Random(2)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for round_ in range(60):  # few letters: many ties and periodic words, where orders could differ
            letters = rng.choice(["ab", "a", "-=", "abc", "a \n", "xy'"])
            text = "".join(rng.choice(letters + rng.choice(["", " ", " \n"])) for _ in range(rng.randrange(10, 4000)))
            if round_ % 3 == 0:
                text = " ".join(rng.choice(letters) * rng.randrange(1, 70) + rng.choice(["", "x", "yz"]) for _ in range(200))
            (folder / "random.txt").write_text(text, newline="")
            pattern = rng.choice(["gpt-2", "llama-bpe", "qwen2", "smollm"])
            difference = same_training(ingot, [folder / "random.txt"], rng.choice([260, 300, 1000]), pattern, folder)
            if difference:
                report(f"training on random text {round_}, {pattern}", difference)
        report("training on 60 random texts", None if not failed else f"{failed} differ")

        points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c != 10]
        lines = [f"a{c}b {c}{c}1{c} {c}'{c}\u2003{c}\r{c}" for c in points]
        for pattern in PATTERNS:
            path = str(folder / f"{pattern}.json")
            t = pairs_tokenizer(pattern)
            t.save(path)
            ours, differing = ingot_ids(ingot, path, lines, folder), []
            for c, line, mine in zip(points, lines, ours):
                if ids_of(t, line, False) != mine:
                    differing.append(c)
            # What one library's Unicode knows and another's does not yet is cut differently: that is no error.
            newer = [c for c in differing if unicodedata.category(c) == "Cn"]
            wrong = [f"U+{ord(c):04X}" for c in differing if c not in newer]
            report(f"{pattern}: cuts around all code points but {len(newer)} that are newer than Unicode "
                   f"{unicodedata.unidata_version}", " ".join(wrong[:60]) if wrong else None)
            texts = [random_text(rng, rng.randrange(1, 200)).replace("\n", "\r") for _ in range(5000)]
            wrong = sum(ids_of(t, x, False) != mine for x, mine in zip(texts, ingot_ids(ingot, path, texts, folder)))
            report(f"{pattern}: ids of 5000 random lines", None if not wrong else f"{wrong} lines differ")

        learnt = folder / "learnt.txt"
        learnt.write_text(LEARNT, newline="")
        for pattern in ("gpt-2", "llama-bpe", "qwen2", "smollm"):
            ingot_trained(ingot, [learnt], 380, pattern, folder)
            t = Tokenizer.from_file(str(folder / "ingot.json"))
            texts = [x for x in CASES if "\n" not in x]
            ours = ingot_ids(ingot, folder / "ingot.json", texts, folder)
            wrong = [x for x, mine in zip(texts, ours) if ids_of(t, x, False) != mine or t.decode(mine, False) != x]
            report(f"{pattern}: our tokenizer.json in `tokenizers`", repr(wrong) if wrong else None)

        kjv = folder / "kjv.txt"
        kjv.write_bytes(subprocess.run(["bible", "-f"], input=b"gen1:1-rev22:21\n", check=True, capture_output=True).stdout)
        for vocab_size in (1776, 8192, 32768):
            report(f"training on the King James text, {vocab_size}", same_training(ingot, [kjv], vocab_size, "gpt-2", folder))
        t = Tokenizer.from_file(str(folder / "ingot.json"))
        lines = kjv.read_text().split("\n")
        theirs = [e.ids for e in t.encode_batch(lines)]
        report("ids of the King James text", None if theirs == ingot_ids(ingot, folder / "ingot.json", lines, folder) else "differ")
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="INGOT", help="compare this program with `tokenizers`")
    options = parser.parse_args()
    sys.exit(check(options.check) if options.check else write_golden())
