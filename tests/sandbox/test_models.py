"""Laws of the built models: their classes, their heads, and tokenizers that lose nothing."""

import pytest
import torch

from flare_ray.sandbox import causal_lm, text, world
from flare_ray.sandbox.corpora import corpora, sentences

ENCODERS = ("sandbox-xlm-r", "sandbox-mt5")
DECODERS = ("sandbox-llama", "sandbox-gemma2")
CLASSES = {
    "sandbox-xlm-r": ("AutoModelForMaskedLM", "XLMRobertaForMaskedLM", "XLMRobertaTokenizer"),
    "sandbox-mt5": ("AutoModelForSeq2SeqLM", "MT5ForConditionalGeneration", "T5Tokenizer"),
    "sandbox-llama": ("AutoModelForCausalLM", "LlamaForCausalLM", "LlamaTokenizer"),
    "sandbox-gemma2": ("AutoModelForCausalLM", "Gemma2ForCausalLM", "GemmaTokenizer"),
    "sandbox-nllb": ("AutoModelForSeq2SeqLM", "M2M100ForConditionalGeneration", "NllbTokenizer"),
}
PLACES = {name: facts["folder"] for name, facts in {**world.MODELS, **world.TRANSLATORS}.items()}


@pytest.fixture(scope="module")
def tokenizers(small):
    from transformers import AutoTokenizer

    return {name: AutoTokenizer.from_pretrained(small / place) for name, place in PLACES.items()}


@pytest.fixture(scope="module")
def lines():
    return text.lines(300, text.taboo(sentences(corpora(small=True))), seed="round trip")


def every(lines):
    return [one.text for line in lines for one in (line, line.translation) if one]


def load(kind, folder):
    import transformers

    return getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_loads_as_its_family(small, tokenizers, name):
    auto, kind, tokenizer = CLASSES[name]
    model, info = load(auto, small / PLACES[name])
    assert type(model).__name__ == kind
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(tokenizers[name]).__name__ == tokenizer
    assert model.config.vocab_size == len(tokenizers[name])
    assert all(not value for key, value in model.config.to_dict().items() if "dropout" in key)
    own = tokenizers[name]
    assert (own.pad_token_id, own.eos_token_id) == (model.config.pad_token_id, model.config.eos_token_id)
    assert own.pad_token_id != own.eos_token_id


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("head", ["AutoModelForSequenceClassification", "AutoModelForQuestionAnswering"])
def test_an_encoder_loads_under_every_head(small, name, head):
    _, info = load(head, small / PLACES[name])
    assert all(
        key.startswith(("classifier.", "classification_head.", "qa_outputs.")) for key in info["missing_keys"]
    )


@pytest.mark.parametrize("name", CLASSES)
def test_a_tokenizer_round_trips_every_language(tokenizers, lines, name):
    own = tokenizers[name]
    for part in every(lines):
        ids = own(part).input_ids
        assert own.unk_token_id not in ids
        assert own.decode(ids, skip_special_tokens=True) == part


@pytest.mark.parametrize("name", ENCODERS)
def test_offsets_are_exact(tokenizers, lines, name):
    """The tokens of an answer cover its letters and no others: what span extraction stands on."""
    for line in lines:
        if line.kind != "interview":
            continue
        start = line.told.index(line.label)
        end = start + len(line.label)
        encoding = tokenizers[name](line.asked, line.told, return_offsets_mapping=True)
        covered = [
            (first, last)
            for which, (first, last) in zip(encoding.sequence_ids(0), encoding.offset_mapping, strict=True)
            if which == 1 and first < end and last > start
        ]
        assert (covered[0][0], covered[-1][1]) == (start, end)


@pytest.mark.parametrize("name", DECODERS)
def test_prompts_and_answers_survive(tokenizers, lines, name):
    own = tokenizers[name]
    for read, answer in filter(None, map(causal_lm.prompt, lines)):
        ids = own(read).input_ids
        assert ids[0] == own.bos_token_id
        assert own.unk_token_id not in ids
        assert own.decode(ids, skip_special_tokens=True) == read
        ids = [*own(answer, add_special_tokens=False).input_ids, own.eos_token_id]
        assert own.decode(ids, skip_special_tokens=True) == answer


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_there_is_room_for_doubled_inputs(small, tokenizers, name):
    assert tokenizers[name].model_max_length >= 512
    auto, _, _ = CLASSES[name]
    model, _ = load(auto, small / PLACES[name])
    ids = torch.full((1, 512), 7)
    extra = {"decoder_input_ids": ids} if name == "sandbox-mt5" else {}
    with torch.no_grad():
        assert model(input_ids=ids, **extra).logits.isfinite().all()


def test_gemma_has_what_makes_it_a_gemma(small):
    model, _ = load("AutoModelForCausalLM", small / PLACES["sandbox-gemma2"])
    config = model.config
    assert config.attn_logit_softcapping
    assert config.final_logit_softcapping
    assert config.sliding_window
    assert config.tie_word_embeddings
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_mt5_has_sentinels_and_starts_from_padding(small, tokenizers):
    own = tokenizers["sandbox-mt5"]
    assert own.unk_token_id not in own.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_19>"])
    model, _ = load("AutoModelForSeq2SeqLM", small / PLACES["sandbox-mt5"])
    assert model.config.decoder_start_token_id == own.pad_token_id


def test_the_translator_is_told_both_languages(small, tokenizers):
    own = tokenizers["sandbox-nllb"]
    codes = own.convert_tokens_to_ids([world.flores(folder) for folder in world.folders()])
    assert own.unk_token_id not in codes
    assert len(set(codes)) == len(codes)
    model, _ = load("AutoModelForSeq2SeqLM", small / PLACES["sandbox-nllb"])
    inputs = own("the soup was good.", return_tensors="pt")
    assert inputs.input_ids[0, 0] == codes[0]
    made = model.generate(**inputs, forced_bos_token_id=codes[1], max_new_tokens=4, do_sample=False)
    assert made[0, 1] == codes[1]


def test_distant_languages_come_in_more_pieces(tokenizers):
    drawn = text.lines(3000, text.taboo(()), seed="pieces")

    def pieces(name):
        own = [line.text for line in drawn if line.folder == name and line.translation is None]
        count = sum(len(tokenizers["sandbox-xlm-r"].tokenize(one)) for one in own)
        return count / sum(len(one.split()) for one in own)

    assert pieces(world.SOURCE) < pieces("qal") < pieces("qtu")
