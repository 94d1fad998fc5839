"""Owns rules grown at random from the whole language: chains, values, selections and conditions that
nobody would write by hand. It never writes what the specification forbids.

A rule that is `odd` may hold what is known to be read otherwise by the second judge."""

from written import write

# Count and Addr are left to comparisons and networks, because a column of the oracle has one kind.
FIELDS = ["Image", "CommandLine", "User", "USER", "process.name", "a b", "größe", "@ts", "x-y"]
PIECES = [
    "abc", "Ab", "nc", "-e", " -x ", "/tmp/", "C:\\", "\\\\srv", ".sh", "sh", "1", "0", "%", "_", "'", '"', "[a]", "^", "$",
    ".", "(", "é", "жук", "日本", "ß", "two  spaces", "\t", "#", ": ", "&", "!", "end\\", "null", "true", "-", "--", "~",
]
SIGNS = ["*", "?", "**", "?*", "\\*", "\\?", "\\\\", "\\\\*", "\\\\\\*", "\\"]
DASHED = ["-enc", "/c x", "a -b", " -x /y", "--long", "-a-b", "(-v)", "a/b", "- x", "-é", "-_", "/"]
PATTERNS = [
    "^a.*c$", "[0-9]{2,4}", "(foo|bar)+", "nc\\s+-e", "\\.sh$", "a|b", "^$", "x*", "(?:x|y)z?", "\\d+\\.\\d+", "^-", "é+",
    "[^/]+/tmp", "A[BC]", "^.{3}$", "\\bsh\\b", "a\\*b", "^(a|b)(c|d)$", "\\\\srv", "%", "'",
]
NETWORKS = [
    "10.0.0.0/8", "192.0.2.128/25", "198.51.100.7/32", "0.0.0.0/0", "172.16.0.0/12", "2001:db8::/32", "fe80::/10", "::1/128",
    "::/0", "2001:db8:0:8000::/49", "192.0.2.1",
]
NUMBERS = [0, 1, -1, 7, 22, 443, 65535, 3.5, -0.25, 1000000, 9007199254740993]
NAMES = [
    "selection", "sel_a", "sel_b", "selection_main", "filter", "filter_main_a", "filter_main_b", "filter_optional_x", "_hidden",
    "_filter_c", "notsel", "android", "orphan", "all_of", "x1", "Sel_A",
]
PATTERNS_OF_NAMES = ["them", "sel*", "sel_*", "*_a", "filter_*", "filter_main_*", "*", "_*", "*main*", "sel_?", "x1", "*_b"]


def wild_text(rng, signs=True):
    """A text of a few pieces, perhaps with wildcards and escapes among them."""
    while True:
        parts = [rng.choice(SIGNS) if signs and rng.random() < 0.35 else rng.choice(PIECES) for _ in range(rng.randint(1, 4))]
        text = "".join(parts)
        if text.strip("*"):
            return text


def plain_text(rng):
    """A text without wildcards, for encodings."""
    return wild_text(rng, signs=False).replace("\\", "")or "x"


def shuffled(rng, words):
    """Some of the words, in any order."""
    chosen = [word for word in words if rng.random() < 0.4]
    rng.shuffle(chosen)
    return chosen


def text_chain(rng, odd):
    """Modifiers of text and a way to draw values for them."""
    place = rng.choice([[], [], ["contains"], ["startswith"], ["endswith"]])
    encodings = rng.choice([[], [], [], [], ["base64"], ["base64offset"], ["wide", "base64offset"], ["wide", "base64"],
                            ["utf16be", "base64offset"], ["utf16", "base64offset"], ["utf16", "base64"], ["windash"],
                            ["windash"]])
    if encodings[-1:] == ["base64offset"] and not odd:
        place = ["contains"]
    flags = shuffled(rng, ["cased", "neq"])
    many = rng.random() < 0.3
    if many:
        flags.append("all")
    if encodings == ["windash"]:
        draw = lambda: rng.choice(DASHED if odd else DASHED[:5])
    elif encodings:
        draw = lambda: rng.choice(["abc", "nc -e", "whoami", "-a b", "sh -i", "Zz9", "a_b", "cmd"])
    else:
        draw = lambda: wild_text(rng)
    tail = [*place, *flags]
    rng.shuffle(tail)
    return [*encodings, *tail], draw, many


def other_chain(rng, odd):
    """Modifiers of what is no text, a way to draw values, and the fields they suit."""
    kind = rng.choice(["re", "cidr", "exists", "compare", "fieldref" if odd else "re", "plain", "plain"])
    negated = ["neq"] if rng.random() < 0.25 else []
    if kind == "re":
        return ["re", *shuffled(rng, ["i", "m", "s"]), *negated], lambda: rng.choice(PATTERNS), FIELDS
    if kind == "cidr":
        return ["cidr", *negated], lambda: rng.choice(NETWORKS if odd else NETWORKS[:-1]), ["Addr", "Image"]
    if kind == "exists":
        return ["exists"], lambda: rng.random() < 0.5, FIELDS
    if kind == "compare":
        return [rng.choice(["lt", "lte", "gt", "gte"]), *negated], lambda: rng.choice(NUMBERS[:-1]), ["Count"]
    if kind == "fieldref":
        place = rng.choice([[], ["contains"], ["startswith"], ["endswith"]])
        tail = [*place, *negated]
        rng.shuffle(tail)
        return ["fieldref", *tail], lambda: rng.choice(["User", "Image", "process.name"]), ["CommandLine", "USER"]
    return negated, lambda: rng.choice([*NUMBERS[:7], True, False, None, "", "7", "true"]), ["User", "Image", "Port"]


def item(rng, odd):
    """One line of a selection."""
    if rng.random() < 0.6:
        chain, draw, many = text_chain(rng, odd)
        field = rng.choice(FIELDS)
    else:
        chain, draw, fields = other_chain(rng, odd)
        field, many = rng.choice(fields), False
    count = rng.randint(2, 3) if many else rng.choice([1, 1, 2, 3])
    values = [draw() for _ in range(count)]
    if "exists" in chain or "fieldref" in chain:
        values = values[:1]
    values = list({(type(value), value): value for value in values}.values())
    if "all" in chain and len(values) == 1:
        chain.remove("all")
    return "|".join([field, *chain]), values[0] if len(values) == 1 and rng.random() < 0.7 else values


def mapping(rng, odd):
    return dict(item(rng, odd) for _ in range(rng.choice([1, 1, 2, 3])))


def keyword(rng, odd):
    """A text that may stand anywhere; what could be part of a number is odd."""
    while True:
        text = wild_text(rng, signs=odd)
        if odd or any(letter.isalpha() for letter in text):
            return text


def keywords(rng, odd):
    """Texts that may stand anywhere, alone or in a list, all of them or one."""
    texts = list(dict.fromkeys(keyword(rng, odd) for _ in range(rng.randint(1, 3))))
    shape = rng.random()
    if shape < 0.25 and len(texts) > 1:
        return {"|all": texts}
    return texts[0] if shape < 0.4 else texts


def selection(rng, odd):
    shape = rng.random()
    if shape < 0.6:
        return mapping(rng, odd)
    if shape < 0.8:
        return [mapping(rng, odd) for _ in range(rng.randint(1, 3))]
    if shape < 0.9:
        return keywords(rng, odd)
    texts = keywords(rng, odd)
    return [mapping(rng, odd), *(texts if isinstance(texts, list) else [keyword(rng, odd)])]


def condition(rng, names, depth=3):
    """A condition over these names, with odd spaces and brackets."""
    if depth == 0 or rng.random() < 0.3:
        if rng.random() < 0.3:
            patterns = [one for one in PATTERNS_OF_NAMES if is_meant(one, names)]
            if patterns:
                return f"{rng.choice(['1', 'all', 'any'])} of {rng.choice(patterns)}"
        return rng.choice(names)
    inner = lambda: condition(rng, names, depth - 1)
    kind = rng.choice(["and", "and", "or", "not", "brackets"])
    if kind == "not":
        return rng.choice(["not {}", "not ({})", "not not {}"]).format(inner()) if depth < 3 else f"not ({inner()})"
    if kind == "brackets":
        return f"({inner()})"
    return f"{inner()} {kind} {inner()}" if rng.random() < 0.5 else f"({inner()}  {kind} ( {inner()} ))"


def is_meant(pattern, names):
    """Whether a pattern means one of the names; what means none is refused everywhere."""
    shown = [name for name in names if pattern.startswith("_") or not name.startswith("_")]
    if pattern == "them":
        return bool(shown)
    if "?" in pattern:
        return False
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern in shown
    middle = tail.strip("*") if tail.endswith("*") else ""
    if middle:
        return any(name.startswith(head) and middle in name[len(head):] for name in shown)
    return any(name.startswith(head) and name.endswith(tail) and len(name) >= len(head) + len(tail) for name in shown)


def list_wild_rules(rng, count, odd):
    """Rules of one seed."""
    rules = []
    for number in range(count):
        names = rng.sample(NAMES, rng.randint(1, 4))
        detection = {name: selection(rng, odd) for name in names}
        texts = [condition(rng, names) for _ in range(rng.choice([1, 1, 1, 2]))]
        detection["condition"] = texts[0] if len(texts) == 1 else texts
        source = rng.choice([{"product": "linux"}, {"category": "process_creation"}, {"service": "sshd", "product": "linux"}])
        rules.append(write(f"{'odd' if odd else 'wild'}_{number}", detection, source))
    return rules
