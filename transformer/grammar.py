"""The embedded corpus: English sentences and their German translations, from a grammar small enough to read.

A *meaning* is drawn at random (who does what to whom, when, where and why) and said twice, in English and in
German. Every word remembers which unit of the meaning it says; words that share a unit are aligned. So the word
alignment and the parse tree are known by construction, not guessed from the words.

The file reads like a first German lesson: the words, the endings, the noun phrase, the verb, the clause, the
sentence. Then come the random choices and the splits.
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformer.pairs import Pair

# The words -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noun:
    """A noun: singular and plural in both languages, German gender (m, f, n), and the kinds of thing it names."""

    english: str
    german: str
    gender: str
    kinds: str


@dataclass(frozen=True)
class Adjective:
    """An adjective, the kinds of thing it can describe, and the stem that takes its German endings."""

    english: str
    german: str
    kinds: str
    stem: str = ""
    """where it differs from the word itself, as in "teuer", "ein teurer Mantel\""""


@dataclass(frozen=True)
class Verb:
    """A verb with its forms, and the kinds of thing that can be its subject and its object."""

    english: str
    """base form, third person singular, past participle"""
    german: str
    """infinitive, third person singular, auxiliary of the perfect, past participle"""
    subjects: str
    objects: str = ""
    prefix: str = ""
    """the German prefix that splits off: "auf" in "sie macht die Tür auf\""""
    particle: str = ""
    """the English particle: "up" in "she wakes up\""""
    prepositions: tuple[str, str] = ("", "")
    """what stands before the object, in English and in German"""
    case: str = "accusative"
    """the case of the German object"""
    adjuncts: str = "time"
    """what may be added, of "time" and "place\""""
    recipient: bool = False
    """whether somebody receives the object"""


NOUNS = (
    Noun("man men", "Mann Männer", "m", "person"),
    Noun("woman women", "Frau Frauen", "f", "person"),
    Noun("boy boys", "Junge Jungen", "m", "person child"),
    Noun("girl girls", "Mädchen Mädchen", "n", "person child"),
    Noun("child children", "Kind Kinder", "n", "person child"),
    Noun("teacher teachers", "Lehrer Lehrer", "m", "person"),
    Noun("aunt aunts", "Tante Tanten", "f", "person"),
    Noun("dog dogs", "Hund Hunde", "m", "animal"),
    Noun("cat cats", "Katze Katzen", "f", "animal"),
    Noun("bird birds", "Vogel Vögel", "m", "animal"),
    Noun("horse horses", "Pferd Pferde", "n", "animal"),
    Noun("lamp lamps", "Lampe Lampen", "f", "goods"),
    Noun("clock clocks", "Uhr Uhren", "f", "goods"),
    Noun("car cars", "Auto Autos", "n", "goods"),
    Noun("picture pictures", "Bild Bilder", "n", "goods"),
    Noun("coat coats", "Mantel Mäntel", "m", "goods"),
    Noun("key keys", "Schlüssel Schlüssel", "m", "goods"),
    Noun("bag bags", "Tasche Taschen", "f", "goods case"),
    Noun("suitcase suitcases", "Koffer Koffer", "m", "goods case"),
    Noun("book books", "Buch Bücher", "n", "goods text"),
    Noun("newspaper newspapers", "Zeitung Zeitungen", "f", "goods text"),
    Noun("letter letters", "Brief Briefe", "m", "text"),
    Noun("door doors", "Tür Türen", "f", "opening"),
    Noun("window windows", "Fenster Fenster", "n", "opening"),
    Noun("apple apples", "Apfel Äpfel", "m", "food"),
    Noun("pear pears", "Birne Birnen", "f", "food"),
    Noun("egg eggs", "Ei Eier", "n", "food"),
    Noun("garden gardens", "Garten Gärten", "m", "place"),
    Noun("park parks", "Park Parks", "m", "place"),
    Noun("kitchen kitchens", "Küche Küchen", "f", "place"),
    Noun("school schools", "Schule Schulen", "f", "place building"),
    Noun("house houses", "Haus Häuser", "n", "place building"),
)

ADJECTIVES = (
    Adjective("old", "alt", "person animal goods text opening place"),
    Adjective("young", "jung", "person animal"),
    Adjective("small", "klein", "person animal goods opening food place"),
    Adjective("big", "groß", "person animal goods opening food place"),
    Adjective("new", "neu", "goods text opening place"),
    Adjective("beautiful", "schön", "animal goods text place"),
    Adjective("expensive", "teuer", "goods food", stem="teur"),
    Adjective("heavy", "schwer", "goods case"),
    Adjective("red", "rot", "goods opening food"),
    Adjective("black", "schwarz", "animal goods opening"),
    Adjective("white", "weiß", "animal goods opening"),
    Adjective("tired", "müde", "person animal", stem="müd"),
    Adjective("hungry", "hungrig", "person animal"),
    Adjective("friendly", "freundlich", "person animal"),
)

BE = Verb("be is been", "sein ist ist gewesen", "person animal goods text opening food place")
NEED = Verb("need needs needed", "brauchen braucht hat gebraucht", "person", "goods food text")
LOVE = Verb("love loves loved", "lieben liebt hat geliebt", "person", "person animal", adjuncts="")
HELP = Verb("help helps helped", "helfen hilft hat geholfen", "person", "person animal", case="dative")
OPEN = Verb("open opens opened", "machen macht hat gemacht", "person", "opening case", prefix="auf")
VERBS = (
    NEED, LOVE, HELP, OPEN,
    Verb("close closes closed", "machen macht hat gemacht", "person", "opening case", prefix="zu"),
    Verb("see sees seen", "sehen sieht hat gesehen", "person animal", "person animal goods food", adjuncts="time place"),
    Verb("find finds found", "finden findet hat gefunden", "person", "animal goods text", adjuncts="time place"),
    Verb("buy buys bought", "kaufen kauft hat gekauft", "person", "goods food"),
    Verb("visit visits visited", "besuchen besucht hat besucht", "person", "person"),
    Verb("read reads read", "lesen liest hat gelesen", "person", "text", adjuncts="time place"),
    Verb("eat eats eaten", "essen isst hat gegessen", "person", "food", adjuncts="time place"),
    Verb("look looks looked", "suchen sucht hat gesucht", "person animal", "person animal goods text",
         prepositions=("for", ""), adjuncts="time place"),
    Verb("wait waits waited", "warten wartet hat gewartet", "person animal", "person",
         prepositions=("for", "auf"), adjuncts="time place"),
    Verb("play plays played", "spielen spielt hat gespielt", "child", "child animal",
         prepositions=("with", "mit"), case="dative", adjuncts="time place"),
    Verb("go goes gone", "gehen geht ist gegangen", "person", "place", prepositions=("into", "in")),
    Verb("follow follows followed", "folgen folgt ist gefolgt", "person animal", "person animal", case="dative"),
    Verb("listen listens listened", "hören hört hat gehört", "person", "person", prefix="zu",
         prepositions=("to", ""), case="dative"),
    Verb("call calls called", "rufen ruft hat gerufen", "person", "person", prefix="an"),
    Verb("invite invites invited", "laden lädt hat geladen", "person", "person", prefix="ein"),
    Verb("give gives given", "geben gibt hat gegeben", "person", "goods food text", recipient=True),
    Verb("show shows shown", "zeigen zeigt hat gezeigt", "person", "goods text", recipient=True),
    Verb("wake wakes woken", "wachen wacht ist gewacht", "person animal", prefix="auf", particle="up"),
    Verb("sleep sleeps slept", "schlafen schläft hat geschlafen", "person animal", adjuncts="time place"),
    Verb("work works worked", "arbeiten arbeitet hat gearbeitet", "person", adjuncts="time place"),
)  # fmt: skip
CLAUSE_VERBS = (
    Verb("know knows known", "wissen weiß hat gewusst", "person"),
    Verb("say says said", "sagen sagt hat gesagt", "person"),
    Verb("think thinks thought", "denken denkt hat gedacht", "person"),
)

TENSES = {  # English: base and third person; German: infinitive (also the plural) and third person
    "will": ("will will", "werden wird"),
    "can": ("can can", "können kann"),
    "must": ("must must", "müssen muss"),
    "perfect": ("have has", ""),  # German takes the auxiliary of the verb
}
ADVERBS = {
    "today": "heute", "tomorrow": "morgen", "now": "jetzt", "soon": "bald", "often": "oft", "sometimes": "manchmal"
}  # fmt: skip
PREPOSITIONS = {"in": "in", "behind": "hinter"}  # with the dative: they say where
CONTRACTIONS = {("in", "dem"): "im", ("in", "das"): "ins"}
CONJUNCTIONS = {"that": "dass", "because": "weil", "although": "obwohl", "while": "während", "if": "wenn"}
MAYBE = {  # the six translations of "maybe", and how often each is meant; the last five put the verb at the end
    "vielleicht": 0.35, "es kann sein": 0.13, "es mag sein": 0.13, "es könnte sein": 0.13,
    "es ist möglich": 0.13, "es wäre möglich": 0.13,
}  # fmt: skip

ENGLISH_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
GERMAN_NUMBERS = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn"
).split()
GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def english_number(n: int) -> list[str]:
    """The words of 2 to 99: 23 is ["twenty", "three"]."""
    tens, ones = divmod(_countable(n), 10)
    if n < 20:
        return [ENGLISH_NUMBERS[n]]
    return [ENGLISH_TENS[tens - 2]] + ([ENGLISH_NUMBERS[ones]] if ones else [])


def german_number(n: int) -> str:
    """The one word of 2 to 99, ones before tens: 23 is "dreiundzwanzig"."""
    tens, ones = divmod(_countable(n), 10)
    if n < 20:
        return GERMAN_NUMBERS[n]
    return (GERMAN_NUMBERS[ones] + "und" if ones else "") + GERMAN_TENS[tens - 2]


def _countable(n: int) -> int:
    if not 2 <= n <= 99:
        raise ValueError(f"the grammar counts from 2 to 99, got {n}; one thing is a singular")
    return n


# The endings -----------------------------------------------------------------------------------------------


def _table(nominative: str, accusative: str, dative: str) -> dict[str, list[str]]:
    rows = {"nominative": nominative, "accusative": accusative, "dative": dative}
    return {case: row.replace("-", " ").split(",") for case, row in rows.items()}
