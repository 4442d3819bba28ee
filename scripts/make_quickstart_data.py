"""Makes the quickstart's text, tickets and tokenizer from data/quickstart/{topics,frames}.yaml. Seeded: the same bytes
every time. Needs PyYAML and tokenizers (scripts/setup.sh --profile test).

    python scripts/make_quickstart_data.py [--check]

--check only says whether the committed files are what this script makes.
"""

import argparse
import json
import random
import re
import sys
import tempfile
from pathlib import Path

import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "data/quickstart"
SEED = 20
TRAIN_TICKETS, TEST_TICKETS, PARAGRAPHS, VOCABULARY = 1200, 200, 2600, 1536
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
QUESTION = "How|What|When|Where|Why|Who|Is |Can |Does |Do "
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def pick(rng, items, part="all"):
    """One of the items; the last quarter of a list belongs to the test tickets alone."""
    border = len(items) - len(items) // 4
    return rng.choice({"all": items, "train": items[:border], "test": items[border:]}[part])


def fill(rng, frame, fillers, part="all"):
    """The frame with a filler in each <slot>; <bare> is an item without its article."""

    def word(slot):
        if slot.group(1) == "bare":
            return pick(rng, fillers["item"], part).split(" ", 1)[1]
        return pick(rng, fillers[slot.group(1)], part)

    return re.sub(r"<(\w+)>", word, frame)


def tickets(rng, topics, frames, part, count):
    """`count` distinct tickets, the labels in turn, then shuffled."""
    made, seen = [], set()
    labels = sorted(topics)
    while len(made) < count:
        label = labels[len(made) % len(labels)]
        opener, closer = pick(rng, frames["openers"], part), pick(rng, frames["closers"], part)
        text = fill(rng, pick(rng, topics[label][part]), frames["fillers"], part)
        stop = "?" if re.match(QUESTION, text) else "."
        if not opener:
            text = text[0].upper() + text[1:]
        text = opener + text + (stop + closer if closer else rng.choice(["", stop]))
        if text not in seen:
            seen.add(text)
            made.append((text, label))
    rng.shuffle(made)
    return made


def ticket_line(text, label):
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
    return json.dumps({"messages": turns}, ensure_ascii=False)


def sentence(rng, frame, topic, frames):
    """A frame with a topic's phrases and then the fillers put in; \"an\" and capitals are set right."""
    names = rng.sample(frames["names"], 2)
    nouns = rng.sample(topic["nouns"], 2)
    words = {"team": topic["team"], "name": names[0], "name2": names[1], "noun": nouns[0], "noun2": nouns[1]}
    words["tags"] = topic.get("tags")
    for slot, key in (("problem", "problems"), ("action", "actions"), ("rule", "rules"), ("quote", "train")):
        words[slot] = rng.choice(topic[key])
    text = re.sub(r"<(\w+)>", lambda slot: words.get(slot.group(1), slot.group(0)), frame)
    text = fill(rng, text, frames["fillers"])
    begins_with_a_label = frame.startswith("<tags>")
    return text if begins_with_a_label else text[0].upper() + text[1:]


def paragraph(rng, topics, frames):
    if rng.random() < 0.16:
        topic = {**topics[rng.choice(sorted(topics))], "tags": "/".join(rng.sample(sorted(topics), 6))}
        return " ".join(sentence(rng, frame, topic, frames) for frame in rng.sample(frames["general"], 5))
    topic = topics[rng.choice(sorted(topics))]
    plan = [rng.choice(frames["begin"]), *rng.sample(frames["middle"], rng.choice([2, 3])), *rng.sample(frames["end"], rng.choice([1, 2]))]
    return " ".join(sentence(rng, frame, topic, frames) for frame in plan)


def train_tokenizer(lines):
    """Byte-level BPE with the pattern of GPT-2; <|end|> ends a document and a turn."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[AddedToken(t, normalized=False, special=True) for t in SPECIAL],
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def write_all(target):
    topics = yaml.safe_load((SOURCE / "topics.yaml").read_text())
    frames = yaml.safe_load((SOURCE / "frames.yaml").read_text())
    rng = random.Random(SEED)
    office = [paragraph(rng, topics, frames) for _ in range(PARAGRAPHS)]
    train = tickets(rng, topics, frames, "train", TRAIN_TICKETS)
    test = tickets(rng, topics, frames, "test", TEST_TICKETS)
    assert not {text for text, _ in train} & {text for text, _ in test}
    files = {
        "office.txt": "\n".join(office) + "\n",
        "tickets/train.jsonl": "\n".join(ticket_line(*ticket) for ticket in train) + "\n",
        "tickets/test.jsonl": "\n".join(ticket_line(*ticket) for ticket in test) + "\n",
        "tickets/labels.txt": "\n".join(sorted(topics)) + "\n",
        "quickstart/tokenizer/tokenizer.json": train_tokenizer(office + sorted(topics) * 50).to_str(pretty=False) + "\n",
        "quickstart/tokenizer/tokenizer_config.json": json.dumps({
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>",
            "add_bos_token": False, "clean_up_tokenization_spaces": False, "model_max_length": 512,
            "chat_template": CHAT_TEMPLATE}, indent=2) + "\n",
    }
    for name, text in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    if not parser.parse_args().check:
        for name, text in write_all(ROOT / "data").items():
            print(f"data/{name}: {len(text.encode()):,} bytes")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        differ = [name for name, text in write_all(Path(folder)).items() if (ROOT / "data" / name).read_text() != text]
    print("differ: " + ", ".join(differ) if differ else "data/ is what this script makes")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
