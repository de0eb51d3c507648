"""What an SDK read in an answer, in words that can be compared with what Clyra saw, and the comparison."""

import json
from collections import Counter

# The channels whose texts an SDK has members for. Calls are compared as calls.
TEXTS = ("content", "reasoning", "refusal")
TOKENS = ("input", "output", "cached", "reasoning")


class Refused(Exception):
    """The SDK cannot read the answer, or has no method that asks for it."""


class Read:
    """What an SDK read."""

    def __init__(self):
        # By channel and whatever tells texts of one channel apart.
        self.texts = {}
        # Names and arguments, as text or as a value.
        self.calls = []
        # Why the answer ended, by choice where there are some, in the words of Clyra's receipts.
        self.finish = {}
        self.tokens = {}
        # Of an error: its status, and what is said.
        self.error = None

    def text(self, channel, place, text):
        """Adds to a text."""
        if text:
            self.texts[channel, place] = self.texts.get((channel, place), "") + text

    def call(self, name, arguments):
        self.calls.append((name, arguments))

    def count(self, **tokens):
        self.tokens = {name: count for name, count in tokens.items() if count is not None}


def get(value, *names):
    """A member of a member, of objects and dictionaries alike; None where one is missing."""
    for name in names:
        if value is None:
            return None
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def failed(status, message):
    """An error that the SDK raised."""
    read = Read()
    read.error = (status, message)
    return read


def counted(tokens):
    """An answer that says how many tokens a request would have; none are used."""
    if not isinstance(tokens, int):
        raise Refused(f"no number of tokens: {tokens!r}")
    return Read()


def value(arguments):
    """Arguments as a value: how an SDK spells JSON is its own business."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def same(one, other):
    return value(one) == value(other)


def differences(exchange, read, told):
    """What is different, in few words."""
    if told["faults"]:
        return told["faults"]
    if read.error is not None:
        return list(of_error(exchange, read.error, told))
    if exchange["status"] != 200:
        return [f"no error was raised, status {exchange['status']}"]
    faults = []
    for channel in TEXTS:
        faults += of_texts(exchange, channel, read, told["saw"])
    faults += of_calls(read.calls, told["saw"]["calls"])
    faults += of_finish(read.finish, told)
    for name in TOKENS:
        ours, theirs = told["usage"].get(name), read.tokens.get(name)
        if told["usage"]["estimated"] or ours is None:
            # Where nobody counts, there is nothing to be compared; an SDK fills in zeros.
            if theirs:
                faults.append(f"tokens: {name} {theirs}, and Clyra has none")
        elif theirs is not None and theirs != ours:
            faults.append(f"tokens: {name} {theirs}, and Clyra has {ours}")
        elif theirs is None and ours:
            faults.append(f"tokens: {name} is none, and Clyra has {ours}")
    return faults


def of_error(exchange, error, told):
    status, message = error
    if status != exchange["status"] or status != told["status"]:
        yield f"error of status {status} instead of {exchange['status']}"
    if message not in strings(value(exchange["error"])):
        yield f"an error that was not recorded: {message!r}"


def strings(document):
    """Every text in a document."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, (dict, list)):
        for one in document.values() if isinstance(document, dict) else document:
            yield from strings(one)


def of_texts(exchange, channel, read, saw):
    theirs = Counter(text for (of, _), text in read.texts.items() if of == channel)
    ours = Counter(text["text"] for text in saw["texts"] if text["channel"] == channel)
    if exchange["api"] == "openai.responses" and exchange["stream"]:
        # What a stream says again is one text to Clyra, wherever it stands.
        theirs, ours = Counter(set(theirs)), Counter(set(ours))
    for text, count in (theirs - ours).items():
        yield f"{channel}: the SDK has {count} x {summary(text)}, Clyra has not: {[summary(t) for t in ours - theirs]}"
    if not theirs - ours:
        for text, count in (ours - theirs).items():
            yield f"{channel}: Clyra has {count} x {summary(text)}, the SDK has not"


def summary(text):
    return f"{len(text)} characters {text[:40]!r}"


def of_calls(theirs, ours):
    """Every call is one that Clyra judged, and the other way round; each reading counts once."""
    left = list(ours)
    for name, arguments in theirs:
        found = next((c for c in left if c["name"] == name and same(c["arguments"] or "{}", arguments or "{}")), None)
        if found is None:
            there = [(call["name"], summary(call["arguments"])) for call in left]
            yield f"call: the SDK has {name!r} {summary(str(arguments))}, Clyra has not: {there}"
        else:
            left.remove(found)
    for call in left:
        yield f"call: Clyra has {call['name']!r} {summary(call['arguments'])}, the SDK has not"


def of_finish(theirs, told):
    """By choice where Clyra tells choices apart."""
    theirs = {str(key): reason for key, reason in theirs.items() if reason is not None}
    reasons = told["saw"]["finish_reasons"]
    if not reasons and told["finish_reason"] is not None:
        reasons = dict.fromkeys(theirs or [""], told["finish_reason"])
    if theirs != reasons:
        yield f"finish: the SDK has {theirs}, Clyra has {reasons} ({told['finish_reason']})"
