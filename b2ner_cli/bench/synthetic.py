"""Invented documents, for measuring where nobody brings any: sentences with names, places, dates.

    "Leila Novik and Bram Haddad met in Wexcombe ."

Nobody and nothing in them exists. The same seed gives the same documents.
"""

from __future__ import annotations

import random

from b2ner_cli.core.document import Document

SOURCE = "synthetic, invented sentences with names, places and dates"

_FIRST = (
    "Mara", "Tobin", "Ines", "Quentin", "Yara", "Oskar", "Leila", "Bram", "Noor", "Felix",
    "Saskia", "Idris",
)  # fmt: skip
_LAST = (
    "Veldkamp", "Okoro", "Lindqvist", "Haddad", "Moreau", "Tanaka", "Brandt", "Castellan", "Novik",
    "Oduya",
)  # fmt: skip
_PLACES = (
    "Port Ellery", "Harrowgate", "Lisbon", "the Vale of Orrin", "Nairobi", "Saint Maudes", "Graz",
    "Upper Tannen", "Osaka", "Wexcombe",
)  # fmt: skip
_GROUPS = (
    "Halden Shipping", "the Orrin Institute", "Brightwater Bank", "Northline Rail",
    "the Harbour Council", "Quillon Labs", "Tannen University",
)  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SENTENCES = (
    "{person} moved from {place} to {other} on {date} to work for {group} .",
    "On {date} , {group} opened a new office in {place} , led by {person} .",
    "{person} and {friend} met in {place} .",
    "The bridge near {place} was closed for repairs until {date} , the council said .",
    "{group} has agreed to sell its yard in {place} to {rival} , a paper close to both reported .",
    "It rained all week , and nobody who had come for the fair stayed longer than they had to .",
    '"We did not expect so many visitors ," said {person} , who runs the museum in {place} .',
    "{friend} , born in {other} on {date} , joined {group} after years at {rival} .",
)


def documents(count: int, seed: int = 0) -> list[Document]:
    """Invented English documents of one to four sentences, the same for the same seed."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        texts = [_sentence(chance) for _ in range(chance.randint(1, 4))]
        made.append(Document(str(number), " ".join(texts)))
    return made


def _sentence(chance: random.Random) -> str:
    person, friend = (f"{chance.choice(_FIRST)} {chance.choice(_LAST)}" for _ in range(2))
    (place, other), (group, rival) = chance.sample(_PLACES, 2), chance.sample(_GROUPS, 2)
    day, month, year = chance.randint(1, 28), chance.choice(_MONTHS), chance.randint(1950, 2030)
    text = chance.choice(_SENTENCES).format(
        person=person, friend=friend, place=place, other=other, group=group, rival=rival,
        date=f"{day} {month} {year}",
    )  # fmt: skip
    return text[0].upper() + text[1:]
