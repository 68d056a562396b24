"""The embedded corpus: English sentences and their German translations, from a grammar small enough to read.

A meaning is drawn at random (who does what to whom, when, where and why) and said twice, in English and in
German. Every word remembers which unit of the meaning it says, and words that share a unit are aligned: word
alignment and parse tree are known by construction, not guessed from the words.

The words and the endings are listed in `lexicon.toml`. The file reads like a first German lesson: the words, the
noun phrase, the clause, the sentence. Then come the random choices and the splits.
"""

import random
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from transformer.text.pairs import Pair

# The words: `kinds` say what goes with what. Somebody opens a bag, nobody opens a bird. ----------------------


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun, and what kinds of thing it names."""

    singular: str
    plural: str
    german_singular: str
    german_plural: str
    gender: str  # m, f or n
    kinds: str


@dataclass(frozen=True)
class Adjective:
    """An adjective, and what kinds of thing it can describe."""

    english: str
    german: str
    about: str  # age, size, …: nothing is said to be old and young
    kinds: str
    stem: str = ""  # what takes the endings, if not the word itself: "müde", but "ein müder Hund"


@dataclass(frozen=True)
class Verb:
    """A verb, and what kinds of thing can be its subject and its object."""

    base: str
    third: str  # she "sees"
    participle: str
    infinitive: str  # in German also the form for the plural
    german_third: str
    auxiliary: str  # of the perfect: "hat" or "ist"
    german_participle: str
    subjects: str
    objects: str = ""
    case: str = "accusative"  # of the German object
    prepositions: tuple[str, str] = ("", "")  # before the object, in English and in German
    prefix: str = ""  # splits off in German: "sie macht die Tür auf"
    particle: str = ""  # the like of it in English: "she wakes up"
    recipient: bool = False  # somebody gets the object
    place: bool = False  # the clause may say where
    state: bool = False  # nothing that happens at some time: said in the present only


@cache
def fits(kinds: str, noun: Noun) -> bool:
    """Whether the noun names something of one of these kinds."""
    return not set(kinds.split()).isdisjoint(noun.kinds.split())


LEXICON = tomllib.loads(files("transformer.text").joinpath("lexicon.toml").read_text(encoding="utf-8"))
"""all words and endings, as the file beside this one lists them"""


def _noun(entry: str, kinds: str) -> Noun:
    singular, plural, article, *german = entry.replace(",", "").split()
    return Noun(singular, plural, *german, {"der": "m", "die": "f", "das": "n"}[article], kinds)


def _verb(base: str, forms: str, prepositions: Sequence[str] = ("", ""), **more: Any) -> Verb:
    return Verb(base, *forms.replace(",", "").split(), prepositions=tuple(prepositions), **more)


_NOUNS = [_noun(entry, kinds) for kinds, entries in LEXICON["nouns"].items() for entry in entries]
NOUNS = {noun.singular: noun for noun in _NOUNS}
ADJECTIVES = {english: Adjective(english, **more) for english, more in LEXICON["adjectives"].items()}
VERBS = {base: _verb(base, **more) for base, more in LEXICON["verbs"].items()}
CLAUSE_VERBS = ("know", "say")  # their object is a clause: "she knows that …"
ALL, LIVING = "person animal goods text opening food place", "person animal"

MODALS, AUXILIARIES, ADVERBS = LEXICON["modals"], LEXICON["auxiliaries"], LEXICON["adverbs"]
CONTRACTIONS, CONJUNCTIONS, MAYBE = LEXICON["contractions"], LEXICON["conjunctions"], LEXICON["maybe"]
ONES, TENS = ([word.split() for word in ", ".join(rows).split(",")] for rows in LEXICON["numbers"].values())


def number(n: int) -> tuple[list[str], str]:
    """The English words and the German word for 2 to 99: 23 is ["twenty", "three"] and "dreiundzwanzig".

    Raises ValueError for another number.
    """
    if not 2 <= n <= 99:
        raise ValueError(f"the grammar counts from 2 to 99, got {n}; one thing is a singular, without a number")
    tens, ones = divmod(n, 10)
    if n < 20 or ones == 0:
        english, german = ONES[n - 1] if n < 20 else TENS[tens - 1]
        return [english], german
    (ten, zehn), (one, eins) = TENS[tens - 1], ONES[ones - 1]
    return [ten, one], f"{eins}und{zehn}"


# The endings, by case; the columns are masculine, feminine, neuter and plural.
ENDINGS = {
    name: {case: [cell.strip("-") for cell in row.split()] for case, row in table.items()}
    for name, table in LEXICON["endings"].items()
}
DETERMINERS = {  # English: the German stem, its endings, and those of an adjective that follows
    english: (stem, ENDINGS[own], ENDINGS[adjective])
    for english, (stem, own, adjective) in LEXICON["determiners"].items()
}

# The meaning -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NounPhrase:
    """Something named: "the old dog", "these twenty three dogs"."""

    noun: Noun
    determiner: str = "the"  # of DETERMINERS
    adjective: Adjective | None = None
    count: int | None = 1  # 1 is the singular, 2 to 99 are said, None is a plural without a number

    @property
    def column(self) -> int:
        """The column of the tables of endings that this phrase takes; 3 is the plural."""
        return 3 if self.count != 1 else "mfn".index(self.noun.gender)

    @property
    def english_pronoun(self) -> str:
        """The English pronoun: by sex for a person, "it" for a thing; empty for "the girl", "she" but "das Mädchen"."""
        if self.count != 1:
            return "they"
        return {"m": "he", "f": "she", "n": ""}[self.noun.gender] if fits("person", self.noun) else "it"


@dataclass(frozen=True)
class Pronoun:
    """Something named before, by a noun phrase that both languages look back to, each in its own way."""

    antecedent: NounPhrase

    @property
    def column(self) -> int:
        """The antecedent's column of the tables of endings: German says "sie" of a lamp and "er" of a suitcase."""
        return self.antecedent.column


@dataclass(frozen=True)
class Clause:
    """Who does what to whom, when and where; with the verb BE, what somebody or something is like."""

    subject: NounPhrase | Pronoun
    verb: Verb
    object: NounPhrase | Pronoun | None = None
    recipient: NounPhrase | None = None
    predicate: Adjective | None = None  # with BE
    tense: str = "present"  # or "perfect", or one of MODALS
    time: str = ""  # of ADVERBS
    place: NounPhrase | None = None
    fronted: str = ""  # "time" or "place", when the main clause starts with it


@dataclass(frozen=True)
class Sentence:
    """A main clause, perhaps with a subordinate clause after or before it, perhaps under a "maybe"."""

    main: Clause
    conjunction: str = ""  # of CONJUNCTIONS
    subordinate: Clause | None = None
    subordinate_first: bool = False
    maybe: bool = False


# The noun phrase ---------------------------------------------------------------------------------------------


class Word(NamedTuple):
    """A word of either language, the units of meaning that it says, and for English its part of speech."""

    text: str
    units: tuple[str, ...]
    tag: str = ""


class Tree(NamedTuple):
    """A labelled constituent of the English parse."""

    label: str
    parts: tuple["Tree | Word", ...]


class Part(NamedTuple):
    """A part of a sentence in both languages: English trees and German words."""

    english: Sequence[Tree | Word] = ()
    german: Sequence[Word] = ()


NOTHING = Part()


def german_noun(noun: Noun, case: str, plural: bool) -> str:
    """The noun in its case: -n in the dative plural, and -n on a masculine in -e but in the nominative."""
    if plural:
        return noun.german_plural + ("n" if case == "dative" and noun.german_plural[-1] not in "ns" else "")
    weak = noun.gender == "m" and noun.german_singular.endswith("e")
    return noun.german_singular + ("n" if weak and case != "nominative" else "")


def noun_phrase(phrase: NounPhrase | Pronoun | None, case: str, unit: str) -> Part:
    """Determiner, number, adjective, noun; in German all but the number agree in gender, number and case."""
    if phrase is None:
        return NOTHING
    if isinstance(phrase, Pronoun):
        text = phrase.antecedent.english_pronoun
        if case != "nominative":
            text = {"he": "him", "she": "her", "it": "it", "they": "them"}[text]
        tree = Tree("NP", (Word(text, (unit,), "PRP"),))
        return Part([tree], [Word(ENDINGS["pronoun"][case][phrase.column], (unit,))])
    noun, adjective, plural = phrase.noun, phrase.adjective, phrase.count != 1
    stem, endings, adjective_endings = DETERMINERS[phrase.determiner]
    english = [Word(noun.plural, (unit,), "NNS") if plural else Word(noun.singular, (unit,), "NN")]
    german = [Word(german_noun(noun, case, plural), (unit,))]
    if adjective:  # each further word goes before those that we have
        units, ending = (f"{unit}: adjective",), adjective_endings[case][phrase.column]
        english.insert(0, Word(adjective.english, units, "JJ"))
        german.insert(0, Word((adjective.stem or adjective.german) + ending, units))
    if plural and phrase.count:
        units, (digits, numeral) = (f"{unit}: number",), number(phrase.count)
        english = [*(Word(digit, units, "CD") for digit in digits), *english]
        german.insert(0, Word(numeral, units))
    if phrase.determiner:
        units, determiner = (f"{unit}: determiner",), phrase.determiner
        if determiner == "a" and english[0].text[0] in "aeiou":
            determiner = "an"
        elif determiner == "this" and plural:
            determiner = "these"
        english.insert(0, Word(determiner, units, "PRP$" if determiner == "my" else "DT"))
        german.insert(0, Word(stem + endings[case][phrase.column], units))
    return Part([Tree("NP", tuple(english))], german)


def prepositional_phrase(english: str, german: str, phrase: Part, unit: str) -> Part:
    """A preposition before a noun phrase, perhaps in English only; "in dem" becomes "im", which says two units."""
    words = list(phrase.german)
    contracted = CONTRACTIONS.get(f"{german} {words[0].text}")
    if contracted:
        words[0] = Word(contracted, (unit, *words[0].units))
    elif german:
        words.insert(0, Word(german, (unit,)))
    return Part([Tree("PP", (Word(english, (unit,), "IN"), *phrase.english))], words)


# The clause --------------------------------------------------------------------------------------------------


def english_verb_phrase(clause: Clause, unit: str, rest: Sequence[Tree | Word]) -> Tree:
    """The verb and all that follows it; after an auxiliary this is a verb phrase of its own."""
    verb, plural, units = clause.verb, clause.subject.column == 3, (f"{unit} verb",)
    if verb.particle:
        rest = [Tree("PRT", (Word(verb.particle, units, "RP"),)), *rest]
    if clause.tense == "present":
        several = "are" if verb.base == "be" else verb.base
        return Tree("VP", (Word(several, units, "VBP") if plural else Word(verb.third, units, "VBZ"), *rest))
    tense = (f"{unit} tense",)
    if clause.tense == "perfect":
        auxiliary = Word("have", tense, "VBP") if plural else Word("has", tense, "VBZ")
        return Tree("VP", (auxiliary, Tree("VP", (Word(verb.participle, units, "VBN"), *rest))))
    return Tree("VP", (Word(clause.tense, tense, "MD"), Tree("VP", (Word(verb.base, units, "VB"), *rest))))


def german_verb(clause: Clause, unit: str, verb_final: bool) -> tuple[Word, list[Word]]:
    """The finite verb and what stands at the end: "macht" … "auf", "hat" … "aufgemacht", "wird" … "aufmachen"."""
    verb, plural, units = clause.verb, clause.subject.column == 3, (f"{unit} verb",)
    if clause.tense != "present":
        perfect = clause.tense == "perfect"
        finite = AUXILIARIES[verb.auxiliary] if perfect else MODALS[clause.tense]
        last = verb.prefix + (verb.german_participle if perfect else verb.infinitive)
        return Word(finite[plural], (f"{unit} tense",)), [Word(last, units)]
    several = "sind" if verb.base == "be" else verb.infinitive
    finite = several if plural else verb.german_third
    if verb_final or not verb.prefix:
        return Word(verb.prefix + finite, units), []
    return Word(finite, units), [Word(verb.prefix, units)]


def clause_part(clause: Clause, unit: str, front: Part = NOTHING, verb_final: bool = False) -> Part:
    """A clause: the same parts in two orders.

    English: the front, the subject, the verb, objects, place, time. German: the finite verb comes second, after
    the front or else the subject; in a subordinate clause (`verb_final`) it comes last. The rest stands between
    it and the end: a pronoun as early, an object with a preposition as late as can be.
    """
    subject = noun_phrase(clause.subject, "nominative", f"{unit} subject")
    recipient = noun_phrase(clause.recipient, "dative", f"{unit} recipient")
    thing = noun_phrase(clause.object, clause.verb.case, f"{unit} object")
    english, german = clause.verb.prepositions
    if english:  # "looks for" is one word in German, "waits for" is two
        thing = prepositional_phrase(english, german, thing, f"{unit} {'preposition' if german else 'verb'}")
    place = predicate = time = NOTHING
    if clause.place:
        place = noun_phrase(clause.place, "dative", f"{unit} place")
        place = prepositional_phrase("in", "in", place, f"{unit} where")
    if clause.predicate:
        adjective, units = clause.predicate, (f"{unit} predicate",)
        tree = Tree("ADJP", (Word(adjective.english, units, "JJ"),))
        predicate = Part([tree], [Word(adjective.german, units)])
    if clause.time:
        units = (f"{unit} time",)
        time = Part([Tree("ADVP", (Word(clause.time, units, "RB"),))], [Word(ADVERBS[clause.time], units)])
    if clause.fronted == "time":
        front, time = time, NOTHING
    elif clause.fronted == "place":
        front, place = place, NOTHING

    rest = [tree for part in (recipient, thing, predicate, place, time) for tree in part.english]
    trees = [*front.english, *subject.english, english_verb_phrase(clause, unit, rest)]

    if isinstance(clause.object, Pronoun):
        middle = (thing, time, place)
    elif german:
        middle = (time, place, thing)
    else:
        middle = (time, recipient, thing, place, predicate)
    finite, end = german_verb(clause, unit, verb_final)
    last = [*(word for part in middle for word in part.german), *end]
    if verb_final:
        words = [*front.german, *subject.german, *last, finite]
    elif front.german:
        words = [*front.german, finite, *subject.german, *last]
    else:
        words = [*subject.german, finite, *last]
    return Part(trees, words)


# The sentence ------------------------------------------------------------------------------------------------


def sentence_part(sentence: Sentence, maybe: str = "vielleicht") -> Part:
    """One English tree and the German words; `maybe` is the translation of "maybe", one of MAYBE."""
    front = after = NOTHING
    verb_final = sentence.maybe and maybe != "vielleicht"
    if sentence.maybe:
        words = [*maybe.split(), ",", "dass"] if verb_final else [maybe]
        tree = Tree("ADVP", (Word("maybe", ("maybe",), "RB"),))
        front = Part([tree], [Word(word, ("maybe",)) for word in words])
    if sentence.subordinate:
        units = ("conjunction",)
        inner = clause_part(sentence.subordinate, "subordinate", verb_final=True)
        clause = Tree("S", tuple(inner.english))
        tree = Tree("SBAR", (Word(sentence.conjunction, units, "IN"), clause))
        german = [Word(CONJUNCTIONS[sentence.conjunction], units), *inner.german]
        if sentence.subordinate_first:
            comma = Word(",", ("comma",), ",")
            front = Part([tree, comma], [*german, comma])
        else:  # where English has the bare conjunction, German has a comma before it
            after = Part([tree], [Word(",", units), *german])
    main = clause_part(sentence.main, "main", front, verb_final)
    *before, verb_phrase = main.english
    verb_phrase = Tree("VP", (*verb_phrase.parts, *after.english))
    stop = Word(".", ("stop",), ".")
    return Part([Tree("S", (*before, verb_phrase, stop))], [*main.german, *after.german, stop])


def leaves(tree: Tree | Word) -> list[Word]:
    """The words of a parse tree, from left to right."""
    return [tree] if isinstance(tree, Word) else [word for part in tree.parts for word in leaves(part)]


def bracket(tree: Tree | Word) -> str:
    """The parse tree as text: "(S (NP (DT the) (NN dog)) (VP (VBZ sleeps)) (. .))"."""
    if isinstance(tree, Word):
        return f"({tree.tag} {tree.text})"
    return f"({tree.label} {' '.join([bracket(part) for part in tree.parts])})"


def say(sentence: Sentence, maybe: str = "vielleicht") -> Pair:
    """The meaning in both languages, with alignment, tree and alternatives; `maybe` as in `sentence_part`."""

    def text(words: Sequence[Word]) -> str:
        return " ".join([word.text for word in words])

    (tree,), target = sentence_part(sentence, maybe)
    source = leaves(tree)
    places: dict[str, list[int]] = {}
    for j, word in enumerate(target):
        for unit in word.units:
            places.setdefault(unit, []).append(j)
    links = tuple((i, j) for i, word in enumerate(source) for j in places[word.units[0]])
    wordings = MAYBE.items() if sentence.maybe else ()
    alternatives = tuple((text(sentence_part(sentence, wording).german), p) for wording, p in wordings)
    return Pair(text(source), text(target), links, bracket(tree), alternatives)


# What is held out --------------------------------------------------------------------------------------------

# Each adjective with each noun that it can describe, each verb with each noun that can be its object. In the table
# of all words by all nouns every tenth diagonal is held out, so that no word and no noun loses many partners.
_DIAGONALS = {
    (word, noun.singular): row + column
    for row, (word, kinds) in enumerate(
        [(a.english, a.kinds) for a in ADJECTIVES.values()] + [(v.base, v.objects) for v in VERBS.values()]
    )
    for column, noun in enumerate(NOUNS.values())
    if fits(kinds, noun)
}
COMBINATIONS = frozenset(_DIAGONALS)
HELD_OUT = frozenset(combination for combination, diagonal in _DIAGONALS.items() if diagonal % 10 == 2)


def combinations(sentence: Sentence) -> Iterator[tuple[str, str]]:
    """The adjective–noun and verb–object combinations of COMBINATIONS that the sentence holds."""
    for clause in filter(None, (sentence.main, sentence.subordinate)):
        if isinstance(clause.object, NounPhrase):
            yield clause.verb.base, clause.object.noun.singular
        for phrase in (clause.subject, clause.object, clause.recipient, clause.place):
            if isinstance(phrase, NounPhrase) and phrase.adjective:
                yield phrase.adjective.english, phrase.noun.singular


# Random choices ----------------------------------------------------------------------------------------------

# What stands here more often is drawn more often.
DEFINITES = [*["the"] * 4, "this", "every"]
SINGULARS = [*DEFINITES, *["a"] * 5, "my"]
PLURALS = ["the", "the", "this", "my", "", "", ""]
TENSES = [*["present"] * 3, *["perfect"] * 2, *["will"] * 3, "can", "must"]
TIMES = {"present": ["today", "now", "often"], "perfect": ["today", "often"]}
TIMES_TO_COME = ["today", "tomorrow", "soon"]  # with all other tenses
LARGEST = 49  # number that is drawn


@cache
def nouns_of(kinds: str, but: Noun | None) -> list[Noun]:
    """The nouns of these kinds, without one."""
    return [noun for noun in NOUNS.values() if fits(kinds, noun) and noun is not but]


@cache
def adjectives_for(noun: Noun) -> list[Adjective]:
    """The adjectives that can describe what the noun names."""
    return [adjective for adjective in ADJECTIVES.values() if fits(adjective.kinds, noun)]


@cache
def actions_of(noun: Noun | None) -> list[Verb]:
    """The verbs for what the noun can do; for None all verbs but BE and those of CLAUSE_VERBS."""
    actions = [verb for verb in VERBS.values() if verb.base not in ("be", *CLAUSE_VERBS)]
    return [verb for verb in actions if noun is None or fits(verb.subjects, noun)]


def draw_noun_phrase(rng: random.Random, kinds: str, but: Noun | None = None, definite: bool = False) -> NounPhrase:
    """Something of these kinds, `but` one that is in the clause already; places come one at a time."""
    noun = rng.choice(nouns_of(kinds, but))
    adjective = rng.choice(adjectives_for(noun)) if rng.random() < 0.33 else None
    determiner, count = rng.choice(DEFINITES if definite else SINGULARS), 1
    if rng.random() < 0.22 and not fits("place", noun):
        determiner = rng.choice(PLURALS[:3] if definite else PLURALS)
        count = rng.randint(2, LARGEST) if rng.random() < 0.45 else None
    if determiner == "my" and noun.singular in ("man", "woman"):  # would be husband and wife in German
        determiner = "the"
    return NounPhrase(noun, determiner, adjective, count)


def draw_action(rng: random.Random, tenses: Sequence[str] = TENSES, again: Pronoun | None = None) -> Clause:
    """What somebody does; `again` is who, when the clause before has named them."""
    noun = again.antecedent.noun if again else None
    verb = rng.choice(actions_of(noun))
    subject = again or draw_noun_phrase(rng, verb.subjects)
    noun = noun or subject.noun
    tense = "present" if verb.state else rng.choice(tenses)
    thing = draw_noun_phrase(rng, verb.objects, noun) if verb.objects else None
    recipient = draw_noun_phrase(rng, "person", noun, definite=True) if verb.recipient else None
    time, place = "", None
    if not verb.state and rng.random() < 0.3:
        time = rng.choice(TIMES.get(tense, TIMES_TO_COME))
    elif verb.place and rng.random() < 0.5:
        place = draw_noun_phrase(rng, "place")
    return Clause(subject, verb, thing, recipient, None, tense, time, place)


def draw_description(rng: random.Random, subject: NounPhrase | Pronoun) -> Clause:
    """What the subject is like, apart from what its own adjective is about."""
    phrase = subject.antecedent if isinstance(subject, Pronoun) else subject
    known = phrase.adjective.about if phrase.adjective else ""
    trained = [a for a in adjectives_for(phrase.noun) if (a.english, phrase.noun.singular) not in HELD_OUT]
    return Clause(subject, VERBS["be"], predicate=rng.choice([a for a in trained if a.about != known]))


def draw_clause(rng: random.Random, tenses: Sequence[str] = TENSES) -> Clause:
    """A clause that needs no other before it: an action, or now and then a description."""
    if rng.random() < 0.15:
        return draw_description(rng, draw_noun_phrase(rng, ALL, definite=True))
    return draw_action(rng, tenses)


def draw_front(rng: random.Random, clause: Clause) -> Clause:
    """The same clause, perhaps with its time or its place before all else."""
    movable = "time" if clause.time else "place" if clause.place else ""
    return replace(clause, fronted=movable) if rng.random() < 0.5 else clause


def clear_pronoun(phrase: NounPhrase | Pronoun | None, before: Clause) -> Pronoun | None:
    """The pronoun for a phrase of the clause before, if nothing else in that clause could be meant by it."""
    said = (before.subject, before.object, before.recipient, before.place)
    pronouns = [other.english_pronoun for other in said if isinstance(other, NounPhrase)]
    if not isinstance(phrase, NounPhrase) or "" in pronouns or pronouns.count(phrase.english_pronoun) > 1:
        return None
    return Pronoun(phrase)


def draw_sequel(rng: random.Random, before: Clause, tenses: Sequence[str] = TENSES) -> Clause:
    """A clause to go with the one before, more often than not about the same subject, now a pronoun."""
    again = clear_pronoun(before.subject, before)
    if again and fits(LIVING, again.antecedent.noun) and rng.random() < 0.6:
        return draw_action(rng, tenses, again)
    return draw_clause(rng, tenses)


def draw_reason(rng: random.Random, before: Clause) -> Clause:
    """What the subject or the object of the clause before is like, or what the one wants of the other."""
    subject, thing = clear_pronoun(before.subject, before), clear_pronoun(before.object, before)
    reasons = [draw_description(rng, pronoun) for pronoun in (subject, thing) if pronoun]
    if subject and thing and fits("person", subject.antecedent.noun):
        noun = thing.antecedent.noun
        for base, tense in (("need", "present"), ("love", "present"), *(("help", modal) for modal in MODALS)):
            if base != before.verb.base and fits(VERBS[base].objects, noun) and (base, noun.singular) not in HELD_OUT:
                reasons.append(Clause(subject, VERBS[base], thing, tense=tense))
    return rng.choice(reasons) if reasons else draw_clause(rng)


def draw_sentence(rng: random.Random) -> Sentence:
    """A meaning to be said."""
    kind = rng.choices(("simple", "maybe", "that", "reason", "circumstance"), (45, 7, 13, 26, 10))[0]
    if kind == "simple":
        return Sentence(draw_front(rng, draw_clause(rng)))
    if kind == "maybe":
        return Sentence(draw_clause(rng), maybe=True)
    if kind == "that":
        main = Clause(draw_noun_phrase(rng, "person"), VERBS[rng.choice(CLAUSE_VERBS)])
        return Sentence(main, "that", draw_sequel(rng, main))
    if kind == "reason":
        main = draw_action(rng)
        reason = draw_reason(rng, main)
        conjunction = "although" if reason.predicate and rng.random() < 0.5 else "because"
        return Sentence(draw_front(rng, main), conjunction, reason)
    conjunction = rng.choice(["because", "although", "if"])
    state = draw_description(rng, draw_noun_phrase(rng, LIVING, definite=True))
    subordinate = state if rng.random() < 0.5 else draw_action(rng, ["present"])
    main = draw_sequel(rng, subordinate, ["present", "will", "can", "must"])
    return Sentence(main, conjunction, subordinate, subordinate_first=True)


# The corpus --------------------------------------------------------------------------------------------------

SPLITS = ("train", "val", "test", "comp")
LONG, LONGEST = 12, 17  # words, comma and full stop included: beyond the one rare, beyond the other none


def holds_held_out(sentence: Sentence) -> bool:
    """Whether the sentence is one for "comp": it holds a combination that all other splits do without."""
    return not HELD_OUT.isdisjoint(combinations(sentence))


def split_by_checksum(source: str) -> str:
    """The split of any other English sentence: its letters alone decide, so no two splits ever share one."""
    return {3: "val", 4: "test"}.get(zlib.crc32(source.encode()) % 10, "train")


def generate(n: int, seed: int, split: str = "train") -> list[Pair]:
    """The first n of the endless pairs that a seed has for a split, the same on every machine; no sentence twice.

    "val" and "test" are drawn like "train"; every sentence of "comp" holds a combination of HELD_OUT, and no
    sentence of the others does. No two splits share a sentence, not even at different seeds.

    Raises ValueError for a negative n and for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"the embedded corpus has no split {split!r}, expected one of {', '.join(SPLITS)}")
    if n < 0:
        raise ValueError(f"cannot generate {n} pairs, expected a number from 0 upwards")
    rng = random.Random(f"{seed}/{split}")  # a text seeds it alike in every process and version of Python
    pairs: dict[str, Pair] = {}
    while len(pairs) < n:
        sentence = draw_sentence(rng)
        if holds_held_out(sentence) != (split == "comp"):
            continue
        maybe = rng.choices(list(MAYBE), list(MAYBE.values()))[0] if sentence.maybe else "vielleicht"
        pair = say(sentence, maybe)
        # The longest translation counts, not the one drawn: or the short ways to say "maybe" would come too often.
        length = max(len(text.split()) for text in (pair.source, *pair.translations))
        common = rng.random() < 0.5 ** (length - LONG)  # each word above LONG halves the chance
        if common and length <= LONGEST and split in ("comp", split_by_checksum(pair.source)):
            pairs.setdefault(pair.source, pair)
    return list(pairs.values())


_SUITCASE = NounPhrase(NOUNS["suitcase"], adjective=ADJECTIVES["black"])
RUNNING_EXAMPLE = say(
    Sentence(
        Clause(NounPhrase(NOUNS["woman"]), VERBS["open"], _SUITCASE, time="today", fronted="time"),
        "because",
        Clause(Pronoun(_SUITCASE), VERBS["be"], predicate=ADJECTIVES["heavy"]),
    )
)
"""One sentence for all chapters, of "test": today the woman opens the black suitcase because it is heavy."""
