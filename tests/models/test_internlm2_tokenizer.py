"""The tokenizer built from tokenizer.model gives the ids that the model was trained with."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers.convert_slow_tokenizer import import_protobuf

from b2ner_cli.errors import ModelError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import internlm2_tokenizer
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.prompts.rendering import TEMPLATES, render

FIXTURE = Path(__file__).parents[1] / "fixtures" / "internlm2_tiny"
REFERENCE = json.loads((FIXTURE / "reference.json").read_text())
SCHEMA = import_protobuf()
NORMAL = 1
SPACE = "▁"


@pytest.fixture(scope="module")
def built():
    return internlm2_tokenizer.build(FIXTURE / "base")


@pytest.fixture
def folder(tmp_path):
    """The files of a good tokenizer, to be changed."""
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(FIXTURE / "base" / name, tmp_path / name)
    return tmp_path


def rewrite(folder, change):
    """Apply `change` to the parsed tokenizer.model."""
    path = folder / "tokenizer.model"
    proto = SCHEMA.ModelProto.FromString(path.read_bytes())
    change(proto)
    path.write_bytes(proto.SerializeToString())


def flag(name, value):
    return lambda proto: setattr(proto.normalizer_spec, name, value)


def wrapped(hf):
    return Tokenizer(hf, (hf.bos_token_id,), hf.eos_token_id, (hf.eos_token_id,), hf.pad_token_id)


# equal to the reference


@pytest.mark.parametrize("name", sorted(REFERENCE["tokenizer"]))
def test_texts_of_the_reference(built, name):
    case = REFERENCE["tokenizer"][name]
    text, fast = case["text"], case["fast"]
    ids = built(text)["input_ids"]
    if name == "unused":  # there the reference gives an id that the model has no row for
        assert max(fast["ids"]) >= built.vocab_size > max(ids)
    else:
        assert ids == fast["ids"]
        assert built(text, add_special_tokens=False)["input_ids"] == fast["ids_no_special"]
    assert built.decode(ids) == fast["decode"]
    assert built.decode(ids, skip_special_tokens=True) == fast["decode_skip"]


def test_the_reference_has_30_texts():
    assert len(REFERENCE["tokenizer"]) == 30


def test_padding(built):
    expected = REFERENCE["padding"]["fast"]
    texts = [built.decode(row, skip_special_tokens=True) for row in expected["input_ids"]]
    padded = built(texts, padding=True)
    assert padded["input_ids"] == expected["input_ids"]
    assert padded["attention_mask"] == expected["attention_mask"]


def test_control_tokens(built):
    assert (built.unk_token_id, built.bos_token_id, built.eos_token_id) == (0, 1, 2)
    assert (built.pad_token_id, built.padding_side) == (2, "left")
    assert built.vocab_size == len(built) == 512  # nothing was added past the model's rows
    assert built.convert_tokens_to_ids(["<|plugin|>", "<|im_end|>", "<|im_start|>"]) == [
        506, 510, 511,
    ]  # fmt: skip
    assert built("a", "b")["input_ids"] == [1, 408, 1, 427]


# documents


SPELLINGS = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|plugin|>", "<0x41>"]


def test_control_tokens_in_a_text_are_ordinary_characters(built):
    tokenizer = wrapped(built)
    for spelling in SPELLINGS:
        (ids,) = tokenizer.encode([f"a{spelling} b"])
        assert not set(ids) & {0, 1, 2, *range(506, 512)}
        assert tokenizer.decode(ids) == f"a{spelling} b"
    assert built("</s>", add_special_tokens=False)["input_ids"] == [2]  # it still reads them


def test_control_tokens_do_not_come_together_from_pieces(folder):
    words = ("<s", "</", "</s", "<|", "im", "_e", "_en", "_end", "|>", "<|im", "<|im_end")

    def add_halves(proto):
        present = {piece.piece for piece in proto.pieces}
        for half in dict.fromkeys([*"".join(words), *words]):
            if half not in present:
                proto.pieces.add(piece=half, score=-1.0, type=NORMAL)

    rewrite(folder, add_halves)
    hf = internlm2_tokenizer.build(folder)
    tokenizer = wrapped(hf)
    ids = tokenizer.encode(["<s>", "</s>", "<|im_end|>"])
    assert [hf.convert_ids_to_tokens(i) for i in ids] == [
        ["<s", ">"], ["</s", ">"], ["<|im_end", "|>"],
    ]  # fmt: skip


@given(
    st.text(
        st.sampled_from("ab .,;'s\n\t北京é😀\u3000")
        | st.characters(codec="utf-8", exclude_characters=SPACE)
    )
)
def test_decode_undoes_encode(built, text):
    tokenizer = wrapped(built)
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == text.removeprefix(" ")
    colon = tokenizer.encode([":"])[0]
    assert tokenizer.decode([*colon, *ids]) == f":{text}"


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("language", sorted(TEMPLATES))
@pytest.mark.parametrize("text", ["Barak, 2 weeks ago .", " a", "\nb", "北京 大学", ""])
def test_prompts_are_cut_at_a_token(folder, prefixed, language, text):
    rewrite(folder, flag("add_dummy_prefix", prefixed))
    hf = internlm2_tokenizer.build(folder)
    within = internlm2_tokenizer.inner(hf)
    assert (within is not None) == prefixed
    prompt = render(LabelSet(("person", "地点")), text, language)
    whole, first = wrapped(hf).encode([prompt.text, prompt.prefix])
    assert first + wrapped(within or hf).encode([prompt.own])[0] == whole


# what files may say


def test_space_in_front(folder, built):
    rewrite(folder, flag("add_dummy_prefix", True))
    hf = internlm2_tokenizer.build(folder)
    within = internlm2_tokenizer.inner(hf)
    for case in REFERENCE["tokenizer"].values():
        text = case["text"]
        bare = built(text, split_special_tokens=True)["input_ids"]
        ids = hf(text, split_special_tokens=True)["input_ids"]
        spaced = f" {text}" if text else text
        assert ids == built(spaced, split_special_tokens=True)["input_ids"]
        assert hf.decode(ids, skip_special_tokens=True) == text.replace(SPACE, " ")
        assert within(text, split_special_tokens=True)["input_ids"] == bare
    assert internlm2_tokenizer.inner(built) is None


@pytest.mark.parametrize(
    "change",
    [
        flag("remove_extra_whitespaces", True),
        flag("precompiled_charsmap", b"\0\0\0\0"),
        lambda proto: [setattr(piece, "type", NORMAL) for piece in proto.pieces[506:]],
        lambda proto: proto.trainer_spec.ClearField("byte_fallback"),
    ],
    ids=["extra whitespace", "charsmap", "unused pieces are normal", "byte fallback"],
)
def test_flags_that_the_reference_does_not_heed(folder, built, change):
    rewrite(folder, change)
    hf = internlm2_tokenizer.build(folder)
    for case in REFERENCE["tokenizer"].values():
        assert hf(case["text"])["input_ids"] == built(case["text"])["input_ids"]


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [
        ({"cd": -1, "ab": -2, "bcd": -3}, ["ab", "cd"]),
        ({"cd": -1, "ab": -3, "bcd": -2}, ["a", "bcd"]),
        ({"cd": -1, "ab": -2, "bcd": -2}, ["ab", "cd"]),  # the order of the file decides
        ({"cd": -1, "bcd": -2, "ab": -2}, ["a", "bcd"]),
        ({"ab": -1, "cd": -1, "bc": 0}, ["a", "bc", "d"]),
        ({"ab": -3, "cd": -3, "abcd": -1}, ["abcd"]),
    ],
)
def test_better_pieces_come_first(folder, pieces, tokens):
    def replace(proto):
        del proto.pieces[259:]  # but the basics and the bytes
        for piece, score in ({letter: -9 for letter in "abcd"} | pieces).items():
            proto.pieces.add(piece=piece, score=score, type=NORMAL)

    rewrite(folder, replace)
    (folder / "tokenizer_config.json").unlink()
    hf = internlm2_tokenizer.build(folder)
    assert hf.tokenize("abcd") == tokens


def test_unknown_characters_without_bytes_are_one_token(folder):
    def rename(proto):
        for piece in proto.pieces[3:259]:
            piece.piece = f"no{piece.piece}"

    rewrite(folder, rename)
    assert internlm2_tokenizer.build(folder)("a龘靐b")["input_ids"] == [1, 408, 0, 427]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{}")])
def test_without_names_of_control_tokens(folder, spoil):
    spoil(folder / "tokenizer_config.json")
    hf = internlm2_tokenizer.build(folder)
    for name, case in REFERENCE["tokenizer"].items():
        if not name.startswith(("im", "unused")):
            assert hf(case["text"])["input_ids"] == case["fast"]["ids"]
    text = REFERENCE["tokenizer"]["im"]["text"]
    assert hf.decode(hf(text)["input_ids"][1:]) == text  # spelled out
    assert hf.convert_ids_to_tokens(511) == "[UNUSED_TOKEN_145]"


def test_same_after_saving(built, tmp_path):
    transformers.LlamaConfig().save_pretrained(tmp_path)
    built.save_pretrained(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for case in REFERENCE["tokenizer"].values():
        ids = built(case["text"])["input_ids"]
        assert loaded(case["text"])["input_ids"] == ids
        assert loaded.decode(ids) == built.decode(ids)
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 2)
    assert loaded.padding_side == "left"


# damaged files


def refused(folder):
    with pytest.raises(ModelError) as caught:
        internlm2_tokenizer.build(folder)
    assert str(folder) in caught.value.message
    assert "again" in caught.value.hint
    return caught.value.message


def test_missing(folder):
    (folder / "tokenizer.model").unlink()
    assert refused(folder) == f"{folder} has no tokenizer.model"
    (folder / "tokenizer.model").mkdir()
    assert "cannot read" in refused(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no pieces"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "not a sentenc"),
        (b"<!DOCTYPE html><html></html>", "not a sentencepiece model"),
        (b'{"model": {}}', "not a sentencepiece model"),
        (bytes(range(256)), "not a sentencepiece model"),
    ],
)
def test_something_else(folder, content, says):
    (folder / "tokenizer.model").write_bytes(content)
    assert says in refused(folder)


def test_cut_off_anywhere(folder):
    path = folder / "tokenizer.model"
    whole = path.read_bytes()
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        assert "cut off" in refused(folder), length
    path.write_bytes(whole[: whole.index(b"[UNUSED_TOKEN_145]") - 4])
    assert "cut off after 511 pieces" in refused(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda proto: setattr(proto.trainer_spec, "model_type", 1), "not a BPE model"),
        (lambda proto: setattr(proto.pieces[1], "piece", "<bos>"), "does not begin with <unk>, <s"),
        (lambda proto: setattr(proto.pieces[300], "piece", proto.pieces[301].piece), "twice"),
    ],
)
def test_another_models(folder, change, says):
    rewrite(folder, change)
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot read"),
        ("[]", "added_tokens_decoder is malformed"),
        ('{"added_tokens_decoder": ["<s>"]}', "malformed"),
        ('{"added_tokens_decoder": {"511": "<|x|>"}}', "malformed"),
        ('{"added_tokens_decoder": {"511": {}}}', "malformed"),
        ('{"added_tokens_decoder": {"x": {"content": "<|x|>"}}}', "cannot read"),
        ('{"added_tokens_decoder": {"92543": {"content": "<|x|>"}}}', "<|x|> at 92543"),
    ],
)
def test_unusable_names_of_control_tokens(folder, content, says):
    (folder / "tokenizer_config.json").write_text(content)
    message = refused(folder)
    assert says in message
    assert "tokenizer_config.json" in message


# size


def large_model():
    """As many pieces as the released models have, each put together from two others."""
    proto = SCHEMA.ModelProto.FromString((FIXTURE / "base" / "tokenizer.model").read_bytes())
    del proto.pieces[259:]  # but the basics and the bytes
    characters = [SPACE, *map(chr, [*range(33, 127), *range(0x4E00, 0x4E00 + 5000)])]
    random_ = random.Random(0)
    pieces = dict.fromkeys(characters)
    latin, chinese = characters[:95], characters[95:]
    while len(pieces) < 92_544 - 259:
        halves = latin if random_.random() < 0.8 else chinese
        piece = random_.choice(halves) + random_.choice(halves)
        if len(piece) <= 16 and piece not in pieces:
            pieces[piece] = None
            halves.append(piece)
    for place, piece in enumerate(pieces):
        proto.pieces.add(piece=piece, score=-float(place), type=NORMAL)
    return proto


def test_time_for_a_vocabulary_of_real_size(tmp_path):
    proto = large_model()
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    start = time.process_time()
    hf = internlm2_tokenizer.build(tmp_path)
    seconds = time.process_time() - start
    print(f"{len(proto.pieces):,} pieces built in {seconds:.2f} s of processor time")
    assert seconds < 3
    assert len(hf) == len(proto.pieces)
    # most pieces are put together again; in the others a better one gets in between
    places = range(259, len(proto.pieces), 50)
    found = hf([proto.pieces[p].piece for p in places], add_special_tokens=False)["input_ids"]
    assert sum(ids == [p] for p, ids in zip(places, found, strict=True)) > 0.5 * len(places)
