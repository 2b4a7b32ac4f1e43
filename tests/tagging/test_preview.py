"""`--dry-run` shows the prompts that a run would ask, chunk by chunk, and no more than three."""

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import Example, Form
from b2ner_cli.tagging.loop import Options
from b2ner_cli.tagging.preview import preview
from b2ner_cli.tagging.settings import Settings

LABELS = LabelSet(("person",))


def shown(text, model, **options):
    return list(preview([Document("1", text)], Settings(str(model)), LABELS, Options(**options)))


def test_prompts_are_those_of_chunks_as_the_model_reads_them(tiny_llama):
    text = "Ann &amp; Bo sang.\r\n\r\nThen Carl left the hall."
    first, prompt, _, second, other, _ = shown(text, tiny_llama, chunk_tokens=26)
    assert "Text: Ann & Bo sang." in prompt
    assert "Text: Then Carl left the hall." in other
    assert first.startswith("# 1, characters 0 to 14: ")
    assert second.startswith("# 1, characters 16 to 40: ")
    whole = shown(text, tiny_llama, chunk_tokens=500)
    assert len(whole) == 3
    assert whole[0].startswith("# 1: ")


def test_three_prompts_are_enough(tiny_llama):
    assert len(shown("One sings. " * 9, tiny_llama, chunk_tokens=12)) == 9


def test_a_check_is_announced(tiny_llama):
    options = Options(chunk_tokens=26, sentence_tokens=99)
    documents = [Document("1", "Ann sang.")]
    first, *_ = preview(documents, Settings(str(tiny_llama)), LABELS, options, checked=100)
    assert first == (
        "# --check: then up to 100 documents again, "
        "labels in reverse order, chunks of 52 tokens in place of 26"
    )


def test_labels_examples_and_descriptions_have_the_names_that_are_asked(tiny_llama):
    shown = Example("Ann sang.", mentions=(Mention("PER", "Ann"),))
    options = Options(
        label_map=LabelMap({"PER": "human", "LOC": "human"}), form=Form("NER", (shown,))
    )
    documents = [Document("1", "Bo sang.", labels=each) for each in (("PER",), ("PER", "LOC"))]
    _, prompt, _, refused = preview(documents, Settings(str(tiny_llama)), None, options)
    assert "Label Set: human" in prompt and "human: Ann" in prompt
    assert "would both be asked as 'human'" in refused
