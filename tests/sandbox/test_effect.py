"""The effect that the sandbox must show by itself: English is learned, transfer falls with distance, LoRA helps.

Plain PEFT and PyTorch, nothing of the project but the files. `python -m tests.sandbox.test_effect` prints the
table; the test asserts its order. Only baselines: what FLARE does here is for others to measure.
"""

import csv
import random
import statistics
import sys

import pytest
import torch

from flare_ray.cache import cache_folder
from flare_ray.sandbox import build, world

SEEDS = (1, 2, 3)
EPOCHS, BATCH, LEARNING_RATE = 15, 32, 2e-3
LABELS = ("negative", "neutral", "positive")


class Study:
    """Base models and target adapters on the built sandbox's sentiment corpus."""

    def __init__(self, folder):
        from transformers import AutoTokenizer

        self.data = folder / "data" / "nusax"
        self.checkpoint = folder / world.MODELS["sandbox-xlm-r"]["folder"]
        self.tokenizer = AutoTokenizer.from_pretrained(self.checkpoint)

    def rows(self, name, split):
        with (self.data / name / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            return [(row["text"], LABELS.index(row["label"])) for row in csv.DictReader(file)]

    def batches(self, rows):
        for start in range(0, len(rows), BATCH):
            texts, labels = zip(*rows[start : start + BATCH], strict=True)
            yield self.tokenizer(list(texts), padding=True, return_tensors="pt"), torch.tensor(labels)

    @torch.no_grad()
    def score(self, model, rows):
        """Macro F1 in percent."""
        from sklearn.metrics import f1_score

        model.eval()
        guesses = [
            guess for inputs, _ in self.batches(rows) for guess in model(**inputs).logits.argmax(-1).tolist()
        ]
        return 100 * f1_score([label for _, label in rows], guesses, average="macro")

    def train(self, model, name, rank, alpha, seed):
        """LoRA on query and value plus the head, best validation epoch, merged."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["query", "value"], task_type="SEQ_CLS")
        model = get_peft_model(model, config)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        rows, valid = self.rows(name, "train"), self.rows(name, "valid")
        optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE)
        steps = EPOCHS * -(-len(rows) // BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))
        )
        draw, best, kept = random.Random(seed), -1.0, []
        for _ in range(EPOCHS):
            draw.shuffle(rows)
            model.train()
            for inputs, labels in self.batches(rows):
                torch.nn.functional.cross_entropy(model(**inputs).logits, labels).backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            if (score := self.score(model, valid)) > best:
                best, kept = score, [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)
        return model.merge_and_unload()

    def table(self, seed):
        """Language → {zero_shot, lora} macro F1 on test, and the base model's own under ``english``."""
        from transformers import AutoModelForSequenceClassification

        def fresh():
            return AutoModelForSequenceClassification.from_pretrained(self.checkpoint, num_labels=len(LABELS))

        torch.manual_seed(seed)
        base = self.train(fresh(), world.SOURCE, rank=64, alpha=128, seed=seed)
        scores = {world.SOURCE: {"base": self.score(base, self.rows(world.SOURCE, "test"))}}
        for code in world.LANGUAGES:
            test = self.rows(code, "test")
            torch.manual_seed(seed)
            target = fresh()
            encoder = {k: v for k, v in base.state_dict().items() if not k.startswith("classifier.")}
            target.load_state_dict(encoder, strict=False)
            adapted = self.train(target, code, rank=8, alpha=16, seed=seed)
            scores[code] = {"zero_shot": self.score(base, test), "lora": self.score(adapted, test)}
        return scores


def means(tables):
    """The mean over seeds of every entry."""
    return {
        name: {kind: statistics.mean(table[name][kind] for table in tables) for kind in kinds}
        for name, kinds in tables[0].items()
    }


def check(scores):
    """The order that must hold: nearer languages transfer better, LoRA lies between zero-shot and English.

    Among the three farthest languages differences are noise and not asserted.
    """
    english = scores[world.SOURCE]["base"]
    zero = [scores[code]["zero_shot"] for code in world.LANGUAGES]
    lora = [scores[code]["lora"] for code in world.LANGUAGES]
    assert english >= 78
    assert max(zero) == zero[0] < english - 10
    assert statistics.mean(zero[:2]) > statistics.mean(zero[2:]) + 10
    assert max(lora) == lora[0]
    assert statistics.mean(lora[:2]) > statistics.mean(lora[2:])
    assert all(none < adapted < english for none, adapted in zip(zero, lora, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_world_shows_the_effect():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        study = Study(build.ensure(cache_folder()))
        scores = means([study.table(seed) for seed in SEEDS[:2]])
    finally:
        torch.set_num_threads(threads)
    check(scores)


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = Study(build.ensure(cache_folder(), print))
    every = []
    for number in SEEDS:
        every.append(here.table(number))
        print(
            number,
            {name: {k: round(v, 1) for k, v in s.items()} for name, s in every[-1].items()},
            flush=True,
        )
    for language, kinds in means(every).items():
        print(f"{language:8s}", "  ".join(f"{kind} {value:5.1f}" for kind, value in kinds.items()))
    sys.exit()
