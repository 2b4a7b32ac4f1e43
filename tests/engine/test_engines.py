"""The fast engine says what `generate` says, token for token, in whatever batches and sizes."""

import dataclasses
import functools
import logging
import types

import pytest
import torch
import transformers
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models, normalizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine, model_engine, open_engine
from b2ner_cli.engine.detokenizer import Detokenizer
from b2ner_cli.engine.model_engine import identity
from b2ner_cli.errors import B2nerError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import attention
from b2ner_cli.models.device_errors import is_out_of_memory
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.prompts.rendering import render
from tests.tiny import VOCABULARY

ARCHITECTURES = ("llama", "gemma2", "gemma3", "qwen2", "mistral")
PERSON = LabelSet(("person",))
CITIES = LabelSet(("city", "river", "person"), {"city": "a place"})


def prompts():
    """Texts of very different lengths under two label sets and three languages, mixed."""
    texts = [
        "Ann", "Ann Lee met Bob in Rome .", "", "😀 Ann 😀", "住在北京的安",
        "Ann works for Acme . " * 9, "The city of Paris has no river .", "Bob . " * 30, "a\n\nb",
    ]  # fmt: skip
    first = [render(PERSON, text, "en") for text in texts]
    second = [render(CITIES, text, "en") for text in texts[:5]]
    return [*first, *second, render(PERSON, texts[4], "zh"), render(PERSON, texts[1], "es")]


@pytest.fixture(scope="module")
def load(load_tiny):
    return functools.cache(lambda architecture: _with_stops(load_tiny(architecture)))


def _with_stops(loaded):
    """Have answers end at different steps: tokens that the model likes end them too."""
    said = [generate_alone(loaded, prompt, 12)[0] for prompt in prompts()]
    stops = {tokens[min(place, len(tokens) - 1)] for place, tokens in enumerate(said[:9]) if place}
    tokenizer = dataclasses.replace(
        loaded.tokenizer, stops=(*loaded.tokenizer.stops, *sorted(stops))
    )
    return dataclasses.replace(loaded, tokenizer=tokenizer)


def generate_alone(loaded, prompt, longest):
    """Tokens and log-probabilities by transformers' own `generate`, for this prompt alone."""
    tokenizer = loaded.tokenizer
    ids = [
        *tokenizer.bos,
        *tokenizer.encode([prompt.prefix])[0],
        *tokenizer.encode([prompt.own])[0],
    ]
    output = loaded.model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        generation_config=GenerationConfig(
            do_sample=False,
            max_new_tokens=longest,
            eos_token_id=list(tokenizer.stops),
            pad_token_id=tokenizer.pad,
            output_logits=True,
            return_dict_in_generate=True,
        ),
    )
    tokens = output.sequences[0, len(ids) :].tolist()
    logprobs = [
        float(step[0].float().log_softmax(-1)[token])
        for step, token in zip(output.logits, tokens, strict=True)
    ]
    if tokens and tokens[-1] in tokenizer.stops:
        tokens, logprobs = tokens[:-1], logprobs[:-1]
    return tokens, logprobs


def answers(engine, asked, answered=()):
    found = dict(engine.generate(asked, answered))
    return [found.get(index) for index in range(len(asked))]


def same(one, other, off=1e-4):
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left._replace(logprobs=(), ends=()) == right._replace(logprobs=(), ends=())
        assert left.ends == right.ends
        assert left.logprobs == pytest.approx(right.logprobs, abs=off)


@pytest.fixture(scope="module")
def alone(load):
    """Each prompt's answer, asked alone, by architecture."""

    @functools.cache
    def alone(architecture, longest=24):
        engine = PlainEngine(load(architecture), max_answer=longest, rows=1)
        return answers(engine, prompts())

    return alone


# The same answers ---------------------------------------------------------------------------------


def test_kernels_may_give_their_results_in_any_order_in_memory(load, monkeypatch):
    def transposed(*given, **more):
        found = torch.nn.functional.scaled_dot_product_attention(*given, **more)
        return found.transpose(1, 2).contiguous().transpose(1, 2)

    loaded = load("llama")
    assert loaded.model.config.num_attention_heads > loaded.model.config.num_key_value_heads > 1
    expected = answers(PackedEngine(loaded, max_answer=5), prompts())
    kernels = types.SimpleNamespace(scaled_dot_product_attention=transposed)
    monkeypatch.setattr(attention, "functional", kernels)
    same(answers(PackedEngine(loaded, max_answer=5), prompts()), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_plain_engine_says_what_generate_says(load, alone, architecture):
    loaded = load(architecture)
    speller = Detokenizer(loaded.tokenizer)
    for prompt, completion in zip(prompts()[:6], alone(architecture), strict=False):
        tokens, logprobs = generate_alone(loaded, prompt, 24)
        expected = speller.completion(
            tokens, logprobs, "length" if len(tokens) == 24 else "eos", completion.prompt_tokens
        )
        same([completion], [expected])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_engines_and_batch_sizes_say_the_same(load, alone, architecture):
    expected = alone(architecture)
    loaded = load(architecture)
    same(answers(PlainEngine(loaded, max_answer=24, rows=5), prompts()), expected)
    for batch_tokens in (1, 700, 1500, 100_000):
        engine = PackedEngine(loaded, max_answer=24, batch_tokens=batch_tokens)
        same(answers(engine, prompts()), expected)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_answers_end_at_different_steps_and_for_both_reasons(alone, architecture):
    lengths = {len(answer.ends) for answer in alone(architecture)}
    assert len(lengths) > 2
    assert {answer.stop for answer in alone(architecture)} == {"eos", "length"}
    assert max(lengths) == 24


def test_the_sliding_window_is_shorter_than_the_prompts(load):
    loaded = load("gemma3")
    assert loaded.model.config.sliding_window < min(
        loaded.tokenizer.count(prompt.own) + 40 for prompt in prompts()
    )


def test_long_answers_outgrow_the_buffer(load):
    loaded = dataclasses.replace(
        load("llama"), tokenizer=dataclasses.replace(load("llama").tokenizer, stops=(2,))
    )
    few = prompts()[:3]
    fast = answers(PackedEngine(loaded, max_answer=150), few)
    assert max(len(answer.ends) for answer in fast) > 128
    same(fast, answers(PlainEngine(loaded, max_answer=150, rows=1), few))


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_answers_stop_where_the_context_is_full(load, architecture):
    loaded = load(architecture)
    longest = max(answer.prompt_tokens for answer in answers(
        PackedEngine(loaded, max_answer=1), prompts()
    ))  # fmt: skip
    narrow = dataclasses.replace(loaded, context=longest + 3)
    expected = answers(PlainEngine(narrow, max_answer=24, rows=1), prompts())
    assert [len(a.ends) <= 3 for a in expected if a.prompt_tokens == longest] == [True]
    assert max(len(a.ends) for a in expected) == 24
    same(answers(PackedEngine(narrow, max_answer=24), prompts()), expected)
    same(answers(PlainEngine(narrow, max_answer=24, rows=8), prompts()), expected)


def test_a_prompt_as_long_as_the_context_gets_an_answer_all_the_same(load):
    narrow = dataclasses.replace(load("llama"), context=20)
    fast = answers(PackedEngine(narrow, max_answer=5), prompts()[:2])
    plain = answers(PlainEngine(narrow, max_answer=5), prompts()[:2])
    same(fast, plain)
    assert {len(answer.ends) for answer in fast} <= {0, 1}


def test_a_models_own_generation_settings_change_nothing(load):
    loaded = load("llama")
    before = answers(PlainEngine(loaded, max_answer=12), prompts()[:3])
    kept = loaded.model.generation_config
    try:
        loaded.model.generation_config = GenerationConfig(
            do_sample=True, repetition_penalty=5.0, temperature=3.0, eos_token_id=2, top_k=7
        )
        same(answers(PlainEngine(loaded, max_answer=12), prompts()[:3]), before)
        same(answers(PackedEngine(loaded, max_answer=12), prompts()[:3]), before)
    finally:
        loaded.model.generation_config = kept


@pytest.mark.parametrize("kind", [PackedEngine, PlainEngine])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_an_engine_leaves_the_model_to_others_while_it_answers(load, alone, architecture, kind):
    """As two threads do: others answer while the engine is in the middle of a step."""
    loaded, expected = load(architecture), alone(architecture)
    engine, others = kind(loaded, max_answer=24), [PlainEngine(loaded, max_answer=24, rows=1)]
    others.append(PackedEngine(loaded, max_answer=24))
    settings = loaded.model.generation_config
    calls, meanwhile = [], []

    def use(*_):
        calls.append(None)
        if len(calls) == 9:  # the first ones are those of prefixes
            meanwhile.append(loaded.model.generation_config)
            meanwhile.extend(answers(other, prompts()[:2]) for other in others)

    hook = loaded.model.base_model.layers[1].register_forward_hook(use)
    try:
        same(answers(engine, prompts()), expected)
    finally:
        hook.remove()
    assert meanwhile[0] is settings
    for found in meanwhile[1:]:
        same(found, expected[:2])


def test_no_prompts_no_answers(load):
    for kind in (PackedEngine, PlainEngine):
        assert list(kind(load("llama")).generate([])) == []


def test_control_tokens_in_a_text_are_ordinary_characters(load):
    loaded = load("llama")
    (ids,) = loaded.tokenizer.encode(["Ann </s><s> <pad>"])
    assert not {0, 1, 2} & set(ids)


# What is answered already -------------------------------------------------------------------------


def test_only_batches_that_are_answered_whole_are_left_out(load):
    engine = PlainEngine(load("llama"), max_answer=2, batch_tokens=1024)
    batches = []
    original = engine._answer
    engine._answer = lambda batch: batches.append(batch) or original(batch)
    asked = prompts()
    everything = [index for index, _ in engine.generate(asked)]
    assert sorted(everything) == list(range(len(asked)))
    assert len(batches) > 3
    first = everything[: len(batches[0])]

    batches.clear()
    assert [index for index, _ in engine.generate(asked, set(first))] == everything[len(first) :]
    batches.clear()
    assert [index for index, _ in engine.generate(asked, set(first[1:]))] == everything
    assert list(engine.generate(asked, set(everything))) == []


def test_two_runs_of_one_engine_do_not_meet(load, alone):
    engine = PackedEngine(load("llama"), max_answer=24, batch_tokens=900)
    said = ({}, {})
    runs = [engine.generate(prompts()), engine.generate(list(reversed(prompts())))]
    while runs[0] or runs[1]:
        for number, run in enumerate(runs):
            found = next(run, None) if run else None
            if found is None:
                runs[number] = None
            else:
                said[number][found[0]] = found[1]
    expected = alone("llama")
    same([said[0][i] for i in range(len(expected))], expected)
    same([said[1][i] for i in reversed(range(len(expected)))], expected)


@pytest.mark.parametrize("known", [0, 1, 7, 13])
def test_what_is_answered_changes_no_bit_of_the_other_answers(load, known):
    """A run that goes on takes the steps of one that was not cut, and stops when it has all."""
    engine = PackedEngine(load("llama"), max_answer=24, batch_tokens=900)
    whole = list(engine.generate(prompts()))
    assert sorted(index for index, _ in whole) == list(range(len(prompts())))
    had = {index for index, _ in whole[-known:]} if known else set()
    rest = list(engine.generate(prompts(), had))
    assert rest == whole[: len(rest)]
    assert len(rest) < len(whole) or known < 7
    assert {index for index, _ in rest} >= set(range(len(prompts()))) - had
    assert list(engine.generate(prompts(), set(range(len(prompts()))))) == []


# Steps --------------------------------------------------------------------------------------------


def watched(engine):
    """Have an engine note the rows under way, the new ones and the tokens of each step."""
    steps, original = [], engine.forward

    def forward(tokens, step):
        new = step.lengths.count(0)
        going = len(step.lengths) - new
        steps.append((going, new, len(tokens), step.cache.rows * step.cache.positions))
        return original(tokens, step)

    engine.forward = forward
    return steps


def test_a_finished_row_is_replaced_at_once_and_nothing_is_padded(load):
    engine = PackedEngine(load("llama"), max_answer=24)
    engine.limits = dataclasses.replace(engine.limits, sequences=4, step_tokens=400)
    steps = watched(engine)
    list(engine.generate(prompts()))
    assert max(going + new for going, new, *_ in steps) == 4
    assert any(going and new for going, new, *_ in steps)
    waiting = len(prompts())
    for going, new, *_ in steps:
        waiting -= new
        assert going + new == 4 or not waiting
    own = sum(load("llama").tokenizer.count(prompt.own) for prompt in prompts())
    said = sum(len(completion.ends) for _, completion in engine.generate(prompts()))
    assert sum(tokens for _, _, tokens, _ in steps[: len(steps) // 2]) <= own + said


def test_steps_and_store_keep_to_their_limits(load):
    engine = PackedEngine(load("llama"), max_answer=24, batch_tokens=1000)
    engine.limits = dataclasses.replace(engine.limits, step_tokens=90)
    steps = watched(engine)
    list(engine.generate(prompts()))
    for going, new, tokens, held in steps:
        assert tokens <= 90 or new == 1
        assert held <= 1000 or going + new == 1
    assert max(going + new for going, new, *_ in steps) > 3


# Models it cannot run ----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_that_can_be_packed_are(load, architecture, caplog):
    with caplog.at_level(logging.WARNING, "b2ner"):
        assert isinstance(open_engine("fast", load(architecture)), PackedEngine)
    assert not caplog.text


def odd(kind):
    """Models whose attention is not theirs to be told, small and random."""
    common = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
    heads = {"num_attention_heads": 4, "num_hidden_layers": 2, "hidden_size": 64}
    if kind == "bloom":  # bias by distance
        return transformers.BloomConfig(**common, hidden_size=64, n_layer=2, n_head=4)
    if kind == "gpt-oss":  # attention sinks
        return transformers.GptOssConfig(
            **common, **heads, num_key_value_heads=2, head_dim=16, intermediate_size=64,
            num_local_experts=2, num_experts_per_tok=1, sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        )  # fmt: skip
    if kind == "granite":  # logits that are scaled after the head
        return transformers.GraniteConfig(**common, **heads, logits_scaling=8.0)
    if kind == "phi3":  # rotary frequencies that change with the longest prompt
        scaling = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
                   "rope_theta": 10_000.0, "original_max_position_embeddings": 128}  # fmt: skip
        return transformers.Phi3Config(
            **common, **heads, pad_token_id=0, rope_parameters=scaling,
            original_max_position_embeddings=128, max_position_embeddings=2048,
        )  # fmt: skip
    return transformers.MambaConfig(**common, hidden_size=64, num_hidden_layers=2, state_size=8)


@pytest.mark.parametrize("kind", ["bloom", "gpt-oss", "mamba", "granite", "phi3"])
@pytest.mark.filterwarnings("ignore")
def test_models_that_cannot_be_packed_are_answered_by_generate(load, kind, caplog):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = transformers.AutoModelForCausalLM.from_config(odd(kind)).eval()
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    strange = dataclasses.replace(load("llama"), model=network)
    with caplog.at_level(logging.WARNING, "b2ner"):
        assert isinstance(open_engine("fast", strange), PlainEngine)
    assert "engine plain, the slow one" in caplog.text


def test_layers_that_keep_their_window_to_themselves_are_not_packed(load, monkeypatch, caplog):
    loaded = load("mistral")
    for layer in loaded.model.model.layers:
        monkeypatch.setattr(
            layer.self_attn, "forward", functools.partial(_without_window, layer.self_attn)
        )
    with caplog.at_level(logging.WARNING, "b2ner"):
        assert isinstance(open_engine("fast", loaded), PlainEngine)


def _without_window(attention, *arguments, **more):
    config = attention.config
    window, config.sliding_window = config.sliding_window, None
    try:
        return type(attention).forward(attention, *arguments, **more)
    finally:
        config.sliding_window = window


# Out of memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["forward", "_prefix"])
def test_when_memory_runs_out_rows_are_halved_and_nothing_is_lost(load, alone, caplog, where):
    engine = PackedEngine(load("llama"), max_answer=24, batch_tokens=100_000)
    original, failures = getattr(engine, where), []

    def too_small(*arguments):
        if engine.limits.sequences > 4:
            failures.append(arguments)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments)

    if where == "_prefix":  # nothing is under way yet: a single prompt counts
        engine.limits, count = dataclasses.replace(engine.limits, sequences=8), iter(range(99))

        def too_small(ids):
            if next(count) == 5:
                failures.append(ids)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return original(ids)

    setattr(engine, where, too_small)
    with caplog.at_level(logging.WARNING, "b2ner"):
        same(answers(engine, prompts()), alone("llama"))
    assert failures
    assert "out of memory: going on with" in caplog.text


def test_memory_may_run_out_in_the_middle_of_an_answer(load, alone):
    engine = PackedEngine(load("llama"), max_answer=24, batch_tokens=100_000)
    original, calls = engine.forward, 0

    def failing(*arguments):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return original(*arguments)

    engine.forward = failing
    same(answers(engine, prompts()), alone("llama"))


@pytest.mark.parametrize("kind", [PackedEngine, PlainEngine])
def test_a_single_prompt_that_does_not_fit_is_an_error_with_a_way_out(load, kind, monkeypatch):
    engine = kind(load("llama"))

    def failing(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    if kind is PackedEngine:
        monkeypatch.setattr(engine, "forward", failing)
    else:
        monkeypatch.setattr(engine._model, "generate", failing)
    with pytest.raises(B2nerError, match="out of memory") as error:
        list(engine.generate(prompts()[:1]))
    assert "--max-answer" in error.value.hint


def test_other_failures_are_not_taken_for_a_lack_of_memory(load, monkeypatch):
    engine = PackedEngine(load("llama"))

    def failing(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine, "forward", failing)
    with pytest.raises(RuntimeError, match="shapes"):
        list(engine.generate(prompts()[:1]))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))


# Spelling -----------------------------------------------------------------------------------------


def spell(tokenizer, text):
    ids = tokenizer.encode([text])[0]
    return ids, Detokenizer(tokenizer).completion(
        ids, [-float(i) for i in range(len(ids))], "eos", 0
    )


TEXTS = [" person: Ann", "person", " 😀", "a😀b; 北京 x", "👩‍👩‍👧 ok", " ", "\n\nx  y", "é́"]


@pytest.mark.parametrize("text", TEXTS)
def test_ends_follow_the_text_for_characters_of_several_tokens(load, text):
    ids, completion = spell(load("llama").tokenizer, text)
    assert completion.text == text
    _check_ends(ids, completion)


@pytest.mark.parametrize("text", [text.replace("\n", "") for text in TEXTS])
def test_ends_follow_the_text_for_byte_fallback(text):
    ids, completion = spell(_fallback_tokenizer(), text)
    assert completion.text == text
    _check_ends(ids, completion)


def _check_ends(ids, completion):
    assert len(completion.ends) == len(completion.logprobs) == len(ids)
    assert list(completion.ends) == sorted(completion.ends)
    assert completion.ends[-1] == len(completion.text)
    assert set(completion.ends) | {0} == set(range(len(completion.text) + 1)) or len(
        set(completion.ends)
    ) < len(completion.text)  # tokens of several characters
    assert completion.ends[0] >= 0


def _fallback_tokenizer():
    """Like SentencePiece's: a few pieces, every other character as its bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", ":", "a", "b", "x", "y", ";", "n", "A", "person", "▁person", "▁Ann"]
    core = Core(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=[],
            byte_fallback=True,
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    hf = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return Tokenizer(hf, (1,), 2, (2,), 2)


def test_an_answer_cut_inside_a_character_is_still_text(load):
    tokenizer = load("llama").tokenizer
    ids = tokenizer.encode(["a😀"])[0]
    completion = Detokenizer(tokenizer).completion(ids[:-1], [0.0] * (len(ids) - 1), "length", 0)
    assert completion.text.encode()
    assert completion.ends[-1] == len(completion.text)


# Opening ------------------------------------------------------------------------------------------


def test_engines_are_opened_by_name(load):
    assert isinstance(open_engine("fast", load("llama")), PackedEngine)
    plain = open_engine("plain", load("llama"), batch_tokens=4096)
    assert isinstance(plain, PlainEngine)
    assert plain.rows == 8


def test_identity_names_what_answers_depend_on(load):
    loaded = load("llama")
    engine = PackedEngine(loaded)
    assert engine.identity == PackedEngine(loaded, max_answer=8, batch_tokens=9).identity
    assert engine.identity != PackedEngine(load("qwen2")).identity
    assert identity("fast", loaded, True) != identity("fast", loaded, False) == engine.identity


def test_engines_share_their_identity_where_they_say_the_same(load):
    """Rounding in fewer bits makes other answers of other batches: none stands for another's."""
    loaded = load("llama")
    assert PackedEngine(loaded).identity == PlainEngine(loaded).identity
    rounded = dataclasses.replace(loaded, dtype="bfloat16")
    assert PackedEngine(rounded).identity != PlainEngine(rounded).identity


@pytest.mark.parametrize(
    ("constrain", "name", "counts"),
    [(False, "DECODING_VERSION", True), (True, "DECODING_VERSION", True),
     (False, "GRAMMAR_VERSION", False), (True, "GRAMMAR_VERSION", True)],
)  # fmt: skip
def test_answers_of_an_earlier_version_are_not_taken_for_those_of_today(
    load, monkeypatch, constrain, name, counts
):
    before = identity("fast", load("llama"), constrain)
    monkeypatch.setattr(model_engine, name, getattr(model_engine, name) + 1)
    assert (identity("fast", load("llama"), constrain) != before) == counts


def test_prompt_tokens_are_those_of_the_whole_prompt(load):
    loaded = load("llama")
    prompt = Prompt("Given", " Ann \nAnswer:")
    ((_, completion),) = PackedEngine(loaded, max_answer=1).generate([prompt])
    assert completion.prompt_tokens == 1 + loaded.tokenizer.count("Given") + loaded.tokenizer.count(
        " Ann \nAnswer:"
    )
