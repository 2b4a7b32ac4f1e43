"""Rows that share a prefix train exactly like their documents one by one."""

from collections import Counter
from dataclasses import replace

import peft
import pytest
import torch

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import files, loading
from b2ner_cli.models.output_head import logits_of
from b2ner_cli.prompts import rendering
from b2ner_cli.training import attention as training_attention
from b2ner_cli.training.groups import Group, PromptChoices
from b2ner_cli.training.packing import AnswerLoss, Schedule, collate, pack
from b2ner_cli.training.recipes import Experiments, Recipe
from b2ner_cli.training.selection import Selection
from tests.tiny import VOCABULARY, tiny_model

GROUPS = [
    Group(
        LabelSet(("person", "city")),
        "en",
        ("Ann Lee met Bob in Rome .", "No river .", "Paris ? 北京 ! </s>"),
        (
            (Mention("person", "Ann Lee"), Mention("city", "Rome")),
            (),
            (Mention("city", "Paris"), Mention("city", "北京")),
        ),
    ),
    Group(LabelSet(("人物",)), "zh", ("安在",), ((Mention("人物", "安"),),)),
]


@pytest.fixture(scope="module", params=["llama", "gemma2", "gemma3", "mistral", "qwen2"])
def adapted(request, tmp_path_factory):
    """A tiny model with a LoRA in double precision, and its tokenizer."""
    directory = tiny_model(tmp_path_factory.mktemp("model"), request.param)
    loaded = loading.load(str(directory), "none", device="cpu", dtype="float32")
    torch.manual_seed(3)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    return peft.get_peft_model(loaded.model.double(), config), loaded.tokenizer


@pytest.fixture(params=["grouped", "masked"])
def answer_loss(request, monkeypatch):
    """Makes the loss with either attention: ours, or the model's own with one large mask."""

    def make(network, sampled_softmax):
        network.get_base_model().config._attn_implementation = "eager"
        made = AnswerLoss(network, sampled_softmax)
        assert made.grouped == (request.param == "grouped")
        return made

    if request.param == "masked":
        monkeypatch.setattr(training_attention, "is_possible", lambda model: False)
    return make


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return loading.load_parts(files.locate(str(tiny_llama), "none"), torch.float32)[1]


def batch_of(groups, tokenizer):
    rows = [pack([group], tokenizer, 1000) for group in groups]
    return collate(rows, torch.device("cpu"))


def one_by_one(network, groups, tokenizer, attention="eager"):
    """The loss as the stock model gives it for each document alone, averaged by token."""
    network.get_base_model().config._attn_implementation = attention
    total, count = torch.zeros((), dtype=torch.double), 0
    for group in groups:
        for text, mentions in zip(group.texts, group.targets, strict=True):
            asked = rendering.render(group.labels, text, group.language)
            answer = rendering.answer(mentions)
            prefix, own, said = tokenizer.encode([asked.prefix, asked.own, answer])
            prompt = [*tokenizer.bos, *prefix, *own]
            targets = torch.tensor([*said, tokenizer.eos])
            ids = torch.tensor([[*prompt, *targets]])
            logits = network(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
            total = total + torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            count += len(targets)
    return total / count


def gradients(network, loss):
    trained = [p for p in network.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, trained)


def test_packed_loss_and_gradients_are_those_of_documents_alone(adapted, answer_loss):
    network, tokenizer = adapted
    packed = answer_loss(network, 0)(batch_of(GROUPS, tokenizer), 0)
    alone = one_by_one(network, GROUPS, tokenizer)
    assert packed.item() == pytest.approx(alone.item(), abs=1e-5)
    pairs = zip(gradients(network, packed), gradients(network, alone), strict=True)
    moved = False
    for got, expected in pairs:
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
        moved |= bool(expected.abs().max() > 1e-3)
    assert moved  # gradients of zero would be equal, too


def test_groups_in_one_row_train_as_in_rows_of_their_own(adapted):
    network, tokenizer = adapted
    cpu = torch.device("cpu")
    together = collate([pack(GROUPS, tokenizer, 1000)], cpu)
    assert together.rows == 1
    loss = AnswerLoss(network, 0)(together, 0)
    apart = AnswerLoss(network, 0)(batch_of(GROUPS, tokenizer), 0)
    assert loss.item() == pytest.approx(apart.item(), abs=1e-5)
    pairs = zip(gradients(network, loss), gradients(network, apart), strict=True)
    for got, expected in pairs:
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_a_neighbour_changes_nothing(adapted):
    network, tokenizer = adapted
    (group, _) = GROUPS
    alone = Group(group.labels, "en", group.texts[2:], group.targets[2:])
    packed = pack([group], tokenizer, 1000)
    tail = len(pack([alone], tokenizer, 1000).targets)
    hidden = AnswerLoss(network, 0)(batch_of([alone], tokenizer), 0)
    last = packed.targets[-tail:]
    packed.sources[:-tail] = []
    packed.targets[:-tail] = []
    assert packed.targets == last
    batch = collate([packed], torch.device("cpu"))
    assert AnswerLoss(network, 0)(batch, 0).item() == pytest.approx(hidden.item(), abs=1e-5)


# rows


def test_row_by_construction(tokenizer):
    (group, _) = GROUPS
    row = pack([group], tokenizer, 1000)
    asked = [rendering.render(group.labels, text, "en") for text in group.texts]
    prefix = [1, *tokenizer.encode([asked[0].prefix])[0]]
    assert row.ids[: len(prefix)] == prefix
    assert row.positions[: len(prefix)] == list(range(len(prefix)))
    assert row.documents == 3
    predicted = dict(zip(row.sources, row.targets, strict=True))
    for number, (prompt, mentions) in enumerate(zip(asked, group.targets, strict=True), 1):
        places = [i for i, segment in enumerate(row.segments) if segment == number]
        own = tokenizer.encode([prompt.own])[0]
        answer = tokenizer.encode([rendering.answer(mentions)])[0]
        assert [row.ids[i] for i in places] == own + answer
        assert [row.positions[i] for i in places] == [
            len(prefix) + i for i in range(len(own + answer))
        ]
        # the last prompt token predicts the answer's first, the answer's last predicts the end
        assert [predicted.pop(i, None) for i in places[len(own) - 1 :]] == [*answer, tokenizer.eos]
    assert predicted == {}


def test_too_long_documents_are_left_out_whole(tokenizer):
    (group, _) = GROUPS
    lengths = []
    for text, mentions in zip(group.texts, group.targets, strict=True):
        row = pack([Group(group.labels, "en", (text,), (mentions,))], tokenizer, 1000)
        lengths.append(len(row.ids) + 1)  # the end of sequence is no input
    row = pack([group], tokenizer, sorted(lengths)[1])
    assert row.documents == 2
    assert sum(target == tokenizer.eos for target in row.targets) == 2
    nothing = pack([group], tokenizer, min(lengths) - 1)
    assert (nothing.documents, nothing.targets) == (0, [])


def test_visibility(tokenizer):
    rows = [pack(GROUPS, tokenizer, 1000), pack(GROUPS[1:], tokenizer, 1000)]
    seen = collate(rows, torch.device("cpu")).layout.visible()[0, 0]
    begin = 0
    for row in rows:
        end = begin + len(row.ids)
        assert not seen[begin:end, :begin].any()
        assert not seen[begin:end, end:].any()
        for query, own in enumerate(row.segments):
            expected = [
                key <= query and segment in (row.prefixes[query], own)
                for key, segment in enumerate(row.segments)
            ]
            assert seen[begin + query, begin:end].tolist() == expected
        begin = end
    assert begin == len(seen)


# the sampled loss


def test_all_sampled_softmax_are_the_full_vocabulary(adapted):
    network, tokenizer = adapted
    batch = batch_of(GROUPS, tokenizer)
    full = AnswerLoss(network, 0)(batch, 0)
    for sampled_softmax in (VOCABULARY, VOCABULARY + 1, 10 * VOCABULARY):
        assert AnswerLoss(network, sampled_softmax)(batch, 0).item() == full.item()


def test_sampled_softmax_estimate_the_full_loss(adapted):
    network, tokenizer = adapted
    batch = batch_of(GROUPS, tokenizer)
    with torch.no_grad():
        full = AnswerLoss(network, 0)(batch, 0).item()
        losses = [AnswerLoss(network, 200)(batch, seed).item() for seed in range(24)]
        assert AnswerLoss(network, 200)(batch, 0).item() == losses[0]
    assert len(set(losses)) > 1
    assert sum(losses) / len(losses) == pytest.approx(full, rel=0.05)


def test_logits_of_some_tokens_are_capped_like_those_of_all(tmp_path):
    directory = tiny_model(tmp_path, "gemma3", final_logit_softcapping=2.0)
    model = loading.load(str(directory), "none", device="cpu", dtype="float32").model
    ids = torch.arange(5, 12)[None]
    with torch.no_grad():
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[0]
        every = model(input_ids=ids, use_cache=False).logits[0]
        some = torch.tensor([400, 3, 77])
        torch.testing.assert_close(logits_of(model, hidden, some), every[:, some])
    assert every.abs().max() > 1.5  # where the cap bites


# schedule


def picks_of(*sizes):
    return [
        Selection(
            f"NER_en_{number}",
            "en",
            ("person", "city"),
            tuple(
                Document(id=str(i), text=f"{number} {i} " + "x" * (i * 11 % 50), mentions=())
                for i in range(size)
            ),
            size,
            0,
        )
        for number, size in enumerate(sizes)
    ]


def schedule_of(selections, batch, group, *, dropout=0.1, epochs=1.0, seed=1, **asked):
    recipe = Recipe(
        batch=batch, group=group, epochs=epochs, seed=seed, experiments=Experiments(**asked)
    )
    return Schedule(selections, recipe, PromptChoices(dropout=dropout))


SIZES = [(1,), (4,), (5, 3), (64,), (65, 1, 30), (200,)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("batch", "group"), [(4, 4), (8, 2), (16, 4)])
@pytest.mark.parametrize("epochs", [0.4, 1.0, 2.0, 2.5])
def test_schedule(sizes, batch, group, epochs):
    schedule = schedule_of(picks_of(*sizes), batch, group, epochs=epochs, seed=5)
    batches = list(schedule.batches())
    assert [step for step, _ in batches] == list(range(schedule.steps))
    one = schedule_of(schedule.selections, batch, group, seed=5).steps
    assert schedule.steps == max(1, round(one * epochs))
    assert all(1 <= len(groups) <= batch // group for _, groups in batches)
    every = Counter(d.text for pick in schedule.selections for d in pick.documents)
    for epoch in range(schedule.steps // one):
        chunk = batches[epoch * one : (epoch + 1) * one]
        assert Counter(t for _, made in chunk for b in made for g in b for t in g.texts) == every
    for start in {0, 1, one - 1, one, schedule.steps - 1, schedule.steps}:
        assert list(schedule.batches(start)) == batches[start:]


def test_epochs_and_seeds_differ():
    (first, second) = (
        list(schedule_of(picks_of(64), 4, 4, seed=seed).batches()) for seed in (1, 2)
    )
    assert first != second
    both = list(schedule_of(picks_of(64), 4, 4, epochs=2.0).batches())
    assert both[:16] == first
    assert [groups for _, groups in both[16:]] != [groups for _, groups in first]


def test_documents_with_label_lists_of_their_own():
    (pick,) = picks_of(21)
    documents = tuple(
        Document(id=d.id, text=d.text, mentions=(), labels=("a",) if i % 3 else None)
        for i, d in enumerate(pick.documents)
    )
    schedule = schedule_of(
        [Selection("NER_en_0", "en", ("b",), documents, 21, 0)], 4, 2, dropout=0.0
    )
    batches = list(schedule.batches())
    assert len(batches) == schedule.steps
    groups = [group for _, made in batches for bundle in made for group in bundle]
    assert Counter(len(group.texts) for group in groups) == {2: 10, 1: 1}
    assert Counter(group.labels.names for group in groups) == {("a",): 7, ("b",): 4}


def lists(schedule, epoch):
    """The label list that each text is asked with, and the order of texts, in an epoch."""
    per_epoch = -(-schedule.steps // 2)
    seen = {}
    for step, bundles in schedule.batches():
        if step // per_epoch == epoch:
            seen |= {g.texts: g.labels.names for bundle in bundles for g in bundle}
    return seen


def test_label_lists_may_be_drawn_once_for_all_epochs():
    picks = picks_of(40)
    drawn = {"dropout": 0.5, "epochs": 2.0, "length_bucket_window": 0}
    once = schedule_of(picks, 4, 1, **drawn, resample_each_epoch=False)
    first, second = lists(once, 0), lists(once, 1)
    assert len(first) == 40
    assert first == second
    assert list(first) != list(second)
    anew = schedule_of(picks, 4, 1, **drawn)
    assert lists(anew, 0) != lists(anew, 1)
    assert lists(anew, 0).keys() == lists(anew, 1).keys()


def test_steps_of_any_documents_or_of_like_ones():
    def spread(window):
        schedule = schedule_of(picks, 4, 1, length_bucket_window=window)
        steps = [[len(g.texts[0]) for b in bundles for g in b] for _, bundles in schedule.batches()]
        assert sorted(length for step in steps for length in step) == lengths
        assert [len(step) for step in steps] == [4] * 16
        return sum(max(step) - min(step) for step in steps)

    (pick,) = picks_of(64)
    documents = tuple(d._replace(text=d.text + " x" * i) for i, d in enumerate(pick.documents))
    picks = [replace(pick, documents=documents)]
    lengths = sorted(len(d.text) for d in documents)
    assert spread(8) < spread(0) / 2
