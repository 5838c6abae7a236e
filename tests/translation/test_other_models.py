"""M2M100 and Marian checkpoints, real ones of random weights: both backends give the same. Needs sentencepiece."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray.translation.backends.base import BACKENDS, Decoding, load

TEXTS = ["The film was very good and we liked it.", "", "a <s> thing </s> __en__ !", "Short", "two of them"]
SHAPE = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "init_std": 0.5,
    "max_position_embeddings": 256,
}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of random words."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("pieces")
    draw = random.Random(1)
    words = ["".join(draw.choices("aeioubdfghklmnprstw", k=draw.randint(1, 7))) for _ in range(400)]
    text = folder / "text.txt"
    text.write_text("\n".join(" ".join(draw.choices(words, k=12)) for _ in range(400)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "pieces"), vocab_size=300, model_type="bpe", minloglevel=2
    )
    return folder / "pieces.model"


def vocabulary(pieces: Path, before: list[str], after: list[str]) -> dict[str, int]:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    known = [model.id_to_piece(number) for number in range(3, model.get_piece_size())]
    return {token: number for number, token in enumerate([*before, *known, *after])}


def m2m100(pieces: Path, folder: Path) -> None:
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    words = vocabulary(pieces, ["<s>", "<pad>", "</s>", "<unk>"], [])
    (folder / "words.json").write_text(json.dumps(words))
    tokenizer = M2M100Tokenizer(str(folder / "words.json"), str(pieces))
    tokenizer.save_pretrained(folder)
    size = len(words) + len(tokenizer.lang_code_to_id) + tokenizer.num_madeup_words
    torch.manual_seed(0)
    model = M2M100ForConditionalGeneration(M2M100Config(vocab_size=size, tie_word_embeddings=False, **SHAPE))
    model.lm_head.weight.data[2] *= 2  # translations end
    model.lm_head.weight.data[-tokenizer.num_madeup_words :] = 0  # rows without a token
    model.save_pretrained(folder)


def marian(pieces: Path, folder: Path, languages: list[str]) -> None:
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    words = vocabulary(pieces, ["</s>", "<unk>", *languages], ["<pad>"])
    (folder / "words.json").write_text(json.dumps(words))
    MarianTokenizer(str(pieces), str(pieces), str(folder / "words.json")).save_pretrained(folder)
    padding = words["<pad>"]
    config = MarianConfig(
        vocab_size=len(words),
        pad_token_id=padding,
        decoder_start_token_id=padding,
        eos_token_id=0,
        forced_eos_token_id=0,
        **SHAPE,
    )
    torch.manual_seed(0)
    model = MarianMTModel(config)
    model.final_logits_bias[0, 0] += 12  # translations end
    model.final_logits_bias[0, padding] += 30  # what must never be predicted
    model.save_pretrained(folder)


def translations(folder: Path, target: str) -> Any:
    """By both backends, which must agree; whatever the batch."""
    decoding = Decoding(max_length=20, precision="fp32")
    found = []
    for name in BACKENDS:
        backend = load(name, str(folder), decoding)
        found.append(backend.translate(TEXTS, "eng", target))
        assert found[-1] == [backend.translate([text], "eng", target)[0] for text in TEXTS]
    assert found[0] == found[1]
    return found[0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))


def test_m2m100(pieces: Path, tmp_path: Path) -> None:
    m2m100(pieces, tmp_path)
    found = translations(tmp_path, "jav")
    assert found != translations(tmp_path, "sw")
    assert found[1].text == ""


@pytest.mark.parametrize("languages", [[], [">>ind<<", ">>swh<<"]])
def test_marian(pieces: Path, tmp_path: Path, languages: list[str]) -> None:
    marian(pieces, tmp_path, languages)
    mad, sw = (translations(tmp_path, language) for language in ("mad", "sw"))
    assert (mad != sw) == bool(languages)
    lengths = load("transformers", str(tmp_path)).lengths(["", "Short"], "eng")
    assert lengths[0] == 1 + bool(languages)
