"""Cards of adapters, and where the data of a set came from."""

from b2ner_cli.training.card import card, read_sources

RECORD = {
    "b2ner": "0.1.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "model": "mini",
    "recipe": {"rank": 32},
    "steps": 10,
    "documents": 1200,
    "final_loss": 0.5,
    "data": {"NER_en_Zoo": {"documents": 1200, "read": 3000}},
}


def test_sources_come_from_the_table_beside_or_above_the_data(tmp_path):
    data = tmp_path / "open"
    data.mkdir()
    (tmp_path / "DATASETS.md").write_text(
        "| use | task | data set | licence (as stated) | source repository @ commit |\n"
        "|---|---|---|---|---|\n"
        "| train | NER_en | Zoo | CC0 | zoo/animals @ abc123 |\n"
    )
    assert read_sources(data) == {
        "NER_en_Zoo": {"licence": "CC0", "source": "zoo/animals @ abc123"}
    }
    assert read_sources(tmp_path / "open" / "deeper" / "still") == {}


def test_card_lists_data_with_licences_and_scores():
    scores = {"f1": 0.251, "precision": 0.3, "recall": 0.2, "unlocated": 0.05}
    report = {"datasets": {"NER_en_Held": {**scores, "invalid_labels": 0.01}}}
    sources = {"NER_en_Zoo": {"licence": "CC0", "source": "zoo/animals @ abc123"}}
    text = card({**RECORD, "heldout": report}, sources)
    assert "| NER_en_Zoo | 1,200 | 3,000 | CC0 | zoo/animals @ abc123 |" in text
    assert "| NER_en_Held | 25.1 | 30.0 | 20.0 | 5.0 | 1.0 |" in text
    assert "| rank | 32 |" in text


def test_the_card_of_a_mean_says_of_what():
    averaged = {"with": "stage-1", "share": 0.25, "dropped": 0.01}
    text = card({**RECORD, "averaged": averaged}, {})
    assert "The weights are a mean: 0.25 of the adapter stage-1 and 0.75 of what" in text
    assert "a mean" not in card(RECORD, {})
    text = card({**RECORD, "stage_before": {**RECORD, "averaged": averaged}}, {})
    assert "The weights after stage 1 are a mean" in text


def test_scores_of_sets_that_were_trained_on_are_called_so():
    scores = {
        "f1": 0.25,
        "precision": 0.3,
        "recall": 0.2,
        "unlocated": 0.05,
        "invalid_labels": None,
    }
    other = {**scores, "f1": 0.75}
    report = {"datasets": {"NER_en_Zoo": scores, "NER_de_Zoo": other}}
    record = {**RECORD, "in_domain": report, "in_domain_documents": "the first 9 documents"}
    text = card(record, {})
    assert "## In-domain scores, free greedy decoding\n\nOn the first 9 documents." in text
    assert "or sets like them, were trained on. Mean F1 50.0." in text
    assert "Held-out" not in text
    assert "## What to expect\n\nPlain names.\n\n## Settings" in card(
        {**RECORD, "about": "Plain names."}, {}
    )


def test_the_card_of_a_second_stage_shows_both():
    before = {**RECORD, "recipe": {"rank": 32, "seed": 23}, "documents": 500, "steps": 5}
    scores = {"datasets": {"NER_en_Zoo": {"f1": 0.5, "precision": 0.5, "recall": 0.5,
                                          "unlocated": 0.0, "invalid_labels": 0.0}}}  # fmt: skip
    text = card(
        {
            **RECORD,
            "recipe": {"rank": 32, "seed": 24, "noise": 0.25},
            "stage_before": before,
            "heldout": scores,
            "heldout_constrained": scores,
        },
        {},
    )
    assert "\n1,700 documents, 15 steps, mean loss" in text
    assert "2 stages, each from the one before: 500 documents in 5 steps, 1,200" in text
    assert "| setting | stage 1 | stage 2 |" in text
    assert "| seed | 23 | 24 |" in text
    assert "| NER_en_Zoo | 2,400 | 3,000 |" in text  # of both stages
    assert "| noise |  | 0.25 |" in text  # a setting that the first stage did not know
    assert "scores, free greedy decoding" in text
    assert "scores, constrained decoding" in text
