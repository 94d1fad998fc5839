"""Owns values that a field must have so that the parts of a rule that look at it hold.
It never knows whether a whole rule matches; the oracle answers that."""

import ipaddress
import re._constants as sre
import re._parser as sre_parser

from sigma.types import (
    SigmaBool,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

FILLERS = ["", "", "", "x", " ", "/", "Zz", " -a ", "0"]
LETTERS = "abcxyzABC019 -_/."


class Wishes:
    """What the parts of a rule want of one field."""

    def __init__(self):
        self.exact = None
        self.prefixes, self.suffixes, self.inside = [], [], []
        self.absent = False
        self.timestamp_parts = {}

    def add(self, value, rng):
        """Takes in one wish; a later exact value replaces an earlier one."""
        if isinstance(value, SigmaExpansion):
            self.add(rng.choice(value.values), rng)
        elif isinstance(value, SigmaString):
            self.add_string(value, rng)
        elif isinstance(value, SigmaNull):
            self.absent = True
        elif isinstance(value, SigmaExists):
            if value.exists:
                self.inside.append(rng.choice(["y", "1"]))
            else:
                self.absent = True
        else:
            self.exact = sample(value, rng)

    def add_string(self, value, rng):
        """Takes in text with wildcards."""
        parts = list(value.s)
        many = SpecialChars.WILDCARD_MULTI
        opens = bool(parts) and parts[0] == many
        closes = bool(parts) and parts[-1] == many
        core = "".join(render(part, rng) for part in parts[opens : len(parts) - closes])
        if opens and closes:
            self.inside.append(core)
        elif opens:
            self.suffixes.append(core)
        elif closes:
            self.prefixes.append(core)
        else:
            self.exact = core

    def value(self, rng):
        """A value that meets them, as far as one can; none for a field that must be absent."""
        if self.absent and self.exact is None:
            return None
        if self.exact is not None:
            return self.exact
        middle = list(self.inside)
        rng.shuffle(middle)
        text = "".join(part + rng.choice(FILLERS) for part in middle)
        return "".join(self.prefixes[:1]) + rng.choice(FILLERS) + text + "".join(self.suffixes[:1])


def render(part, rng):
    """One piece of a text with wildcards."""
    if part == SpecialChars.WILDCARD_MULTI:
        return rng.choice(FILLERS)
    if part == SpecialChars.WILDCARD_SINGLE:
        return rng.choice(LETTERS)
    return str(part)


def sample(value, rng):
    """A value that a test other than one on text accepts."""
    if isinstance(value, SigmaTimestampPart):
        return sample_time(value, rng)
    if isinstance(value, SigmaNumber):
        return rng.choice([value.number, str(value.number)])
    if isinstance(value, SigmaBool):
        return rng.choice([value.boolean, str(value.boolean).lower()])
    if isinstance(value, SigmaRegularExpression):
        return rng.choice(["", "", "x "]) + sample_regex(str(value.regexp), rng) + rng.choice(["", "", " y"])
    if isinstance(value, SigmaCIDRExpression):
        return sample_address(value.network, rng)
    if isinstance(value, SigmaCompareExpression):
        number = value.number.number
        return number + rng.choice([-1, 0, 1, 0.5, -10, 10])
    return rng.choice(LETTERS)


def sample_time(value, rng):
    """A time that often has the wanted part."""
    number = int(value.number)
    year = number if value.timestamp_part.name == "YEAR" else 2025
    month = number if value.timestamp_part.name == "MONTH" else rng.choice([1, 6, 12])
    day = number if value.timestamp_part.name == "DAY" else rng.choice([1, 5, 28])
    hour = number if value.timestamp_part.name == "HOUR" else rng.choice([0, 13, 23])
    minute = number if value.timestamp_part.name == "MINUTE" else rng.choice([0, 30, 59])
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{rng.randrange(60):02}Z"


def sample_address(text, rng):
    """An address in a network or next to it."""
    network = ipaddress.ip_network(str(text), strict=False)
    first, last = int(network.network_address), int(network.broadcast_address)
    limit = 2 ** network.max_prefixlen - 1
    choices = [first, last, rng.randint(first, last), max(first - 1, 0), min(last + 1, limit)]
    kind = type(network.network_address)
    return str(kind(rng.choice(choices)))


def sample_regex(pattern, rng):
    """A text that a regular expression finds, for the syntax that rules use."""
    try:
        return sample_parsed(sre_parser.parse(pattern), rng)
    except Exception:
        return "x"


def sample_parsed(parsed, rng):
    """A text for each element of a parsed regular expression."""
    return "".join(sample_element(op, argument, rng) for op, argument in parsed)


def sample_element(op, argument, rng):
    """A text for one element of a parsed regular expression."""
    if op is sre.LITERAL:
        return chr(argument)
    if op is sre.NOT_LITERAL:
        return "a" if chr(argument) != "a" else "b"
    if op is sre.ANY:
        return rng.choice(LETTERS)
    if op is sre.IN:
        return sample_class(argument, rng)
    if op is sre.BRANCH:
        return sample_parsed(rng.choice(argument[1]), rng)
    if op is sre.SUBPATTERN:
        return sample_parsed(argument[3], rng)
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        low, high, inner = argument
        count = rng.choice([low, low, min(low + 1, int(high)), min(low + 3, int(high))])
        return "".join(sample_parsed(inner, rng) for _ in range(count))
    return ""


def sample_class(items, rng):
    """A character of a class."""
    if items[0][0] is sre.NEGATE:
        return rng.choice("aZ5_ ")
    op, argument = rng.choice(items)
    if op is sre.RANGE:
        return chr(rng.randint(*argument))
    if op is sre.CATEGORY:
        name = str(argument)
        return rng.choice("0359") if "DIGIT" in name else rng.choice(" \t") if "SPACE" in name else "w"
    return chr(argument)


def mutate(value, rng):
    """A value that just differs."""
    if isinstance(value, bool):
        return rng.choice([not value, str(value).lower(), int(value)])
    if isinstance(value, (int, float)):
        return rng.choice([value + 1, value - 1, str(value), f"{value} "])
    if not value:
        return rng.choice(["x", "*"])
    at = rng.randrange(len(value))
    changed = rng.choice([
        value[:at] + value[at + 1 :],
        value[:at] + rng.choice(LETTERS + "*?\\%_[]^'") + value[at:],
        value[:at] + rng.choice(LETTERS) + value[at + 1 :],
        value + rng.choice(LETTERS),
        rng.choice(LETTERS) + value,
        value[::-1],
        value + value,
    ])
    # Another spelling of one number, such as 00: judges differ on what it is, see DIFFERENCES.md.
    is_same_number = value.isdecimal() and changed.isdecimal() and int(value) == int(changed)
    return changed + "x" if is_same_number else changed


def swap_case(value, rng):
    """The same text in other capitals."""
    if not isinstance(value, str) or not value.isascii():
        return value
    return rng.choice([value.upper(), value.lower(), value.swapcase()])
