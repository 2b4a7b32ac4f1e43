"""Draw `b2ner_cli/docs/tagged.svg`: sentences with the entities that `b2ner tag` found in them.

    python tests/tools/picture.py          draw what picture.jsonl holds
    python tests/tools/picture.py --tag    ask mini for that first

Plain system fonts, whose widths are guessed from Helvetica's; every piece of text is told how wide
it is to be, so that marks and words meet in any font. Brings its own background.
"""

import json
import subprocess
import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOUND = HERE / "picture.jsonl"
PICTURE = HERE.parents[1] / "b2ner_cli" / "docs" / "tagged.svg"
ASKED = (
    (
        "Has anyone seen Lost in Translation? Bill Murray is superb, and Sofia Coppola shot it in "
        "Tokyo in 2003.",
        ["movie title", "actor", "director", "year"],
    ),
    (
        "She took ibuprofen for her migraine, but the pain in her left knee got worse and the "
        "doctor suspected gout.",
        ["disease", "drug", "body part"],
    ),
    (
        "2024年5月，清华大学的张伟教授从北京来到上海，参观了复旦大学的实验室。",
        ["人名", "组织机构名", "地名", "日期"],
    ),
)

WIDTH, MARGIN, PAD = 780, 24, 5
TEXT, SMALL = 17, 12  # pixels of a letter: of the text, of labels and commands
LINE, GAP = 50, 20  # from one line to the next, and more between two sentences
INK = "#1f2328"
COLOURS = (  # of a mark and of its label, which has 4.5 times the contrast to the background
    ("#cfe3ff", "#0b4fa8"),
    ("#ffdcc2", "#9a3d00"),
    ("#cdeed3", "#12612a"),
    ("#ead7fb", "#6b2aa5"),
)
NARROW = {" ": 0.28, **dict.fromkeys("ijl|'.,:;!It", 0.28), **dict.fromkeys('fr()[]-"', 0.36)}


def width(text: str, size: float) -> float:
    """About how wide a text is in Helvetica, in pixels."""
    return round(size * sum(_letter(char) for char in text), 1)


def _letter(char: str) -> float:
    if ord(char) > 0x2E7F:
        return 1.0
    if char in NARROW:
        return NARROW[char]
    return 0.83 if char in "mwMW" else 0.68 if char.isupper() else 0.54


def pieces(record: dict) -> list[tuple[str, str]]:
    """A sentence as pieces of text with their labels; words without one stand alone."""
    found, at, text = [], 0, record["text"]
    for entity in record["entities"]:
        found += [(word, "") for word in _words(text[at : entity["start"]])]
        found.append((text[entity["start"] : entity["end"]], entity["label"]))
        at = entity["end"]
    return found + [(word, "") for word in _words(text[at:])]


def _words(text: str) -> list[str]:
    """Words with the space behind them; Chinese may be cut anywhere."""
    words: list[str] = []
    for char in text:
        if words and words[-1][-1] != " " and ord(char) < 0x2E80:
            words[-1] += char
        else:
            words.append(char)
    return words


def lines(found: list[tuple[str, str]]) -> list[list[tuple[str, str, float]]]:
    """The pieces cut into lines that fit, each with its width; words beside each other are one."""
    cut: list[list[tuple[str, str, float]]] = [[]]
    left = WIDTH - 2 * MARGIN
    for text, label in found:
        wide = max(width(text, TEXT), width(label, SMALL)) + 2 * PAD if label else width(text, TEXT)
        if wide > left:
            cut.append([])
            left = WIDTH - 2 * MARGIN
        left -= wide
        if cut[-1] and not label and not cut[-1][-1][1]:
            before, _, taken = cut[-1].pop()
            text, wide = before + text, taken + wide
        cut[-1].append((text, label, wide))
    return cut


def marked(text: str, label: str, labels: list[str], x: float, y: float, wide: float) -> list[str]:
    """A piece of a line: its words and, where it has a label, the mark and the label below."""
    if not label:
        before = len(text) - len(text.lstrip())
        x += width(text[:before], TEXT)
        return [text_element(text.strip(), x, y, TEXT, INK)] if text.strip() else []
    mark, ink = COLOURS[labels.index(label)]
    size = f'width="{wide:.1f}" height="26" rx="5"'
    return [
        f'<rect x="{x:.1f}" y="{y - 19:.1f}" {size} fill="{mark}"/>',
        text_element(text, x + PAD, y, TEXT, INK),
        text_element(label, x + PAD, y + 21, SMALL, ink),
    ]


def text_element(text: str, x: float, y: float, size: int, colour: str) -> str:
    """One piece of text at a place, as wide as it is guessed to be."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'textLength="{width(text, size):.1f}" lengthAdjust="spacingAndGlyphs">'
        f"{escape(text)}</text>"
    )


def draw(records: list[dict]) -> str:
    """The picture as SVG."""
    drawn: list[str] = []
    y = 34.0
    for record in records:
        labels = record["labels"]
        command = f'b2ner tag - --labels "{", ".join(labels)}"'
        drawn.append(text_element(command, MARGIN, y, SMALL, "#57606a"))
        y -= LINE - 30
        for line in lines(pieces(record)):
            x, y = float(MARGIN), y + LINE
            for text, label, wide in line:
                drawn += marked(text, label, labels, x, y, wide)
                x += wide
        y += LINE + GAP
    high = y - LINE - GAP + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{high:.0f}" '
        f'viewBox="0 0 {WIDTH} {high:.0f}" role="img" '
        "font-family=\"Helvetica, Arial, 'Noto Sans CJK SC', 'PingFang SC', sans-serif\">\n"
        "<title>Sentences with the entities that b2ner marked in them</title>\n"
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{high - 1:.0f}" rx="8" '
        'fill="#ffffff" stroke="#d0d7de"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def tagged() -> bytes:
    """What `b2ner tag` says of the sentences now, a line of JSON each."""
    asked = [
        json.dumps({"id": str(number), "text": text, "labels": labels}, ensure_ascii=False)
        for number, (text, labels) in enumerate(ASKED, 1)
    ]
    command = [sys.executable, "-m", "b2ner_cli", "tag", "-", "--labels-field", "labels"]
    command += ["--dtype", "float32", "--no-cache", "--quiet"]
    lines = "\n".join(asked).encode()
    return subprocess.run(command, input=lines, capture_output=True, check=True).stdout


def recorded() -> list[dict]:
    """What was found when the picture was last drawn anew."""
    return [json.loads(line) for line in FOUND.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    if "--tag" in sys.argv[1:]:
        FOUND.write_bytes(tagged())
    PICTURE.write_text(draw(recorded()), encoding="utf-8")
