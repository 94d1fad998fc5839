"""Owns rules made by seed that use every modifier and every shape of condition.
It never writes a rule that means nothing; what must be refused is tested elsewhere."""

import uuid

import yaml

NAMESPACE = uuid.UUID("9b1f0f2a-7c1e-4c55-9a53-1f9f5d0c2a10")
FIELDS = ["Image", "CommandLine", "User", "user", "a b", "TargetFilename"]
TEXTS = [
    "abc", "Ab", "/usr/bin/nc", "*", "?", "a*c", "*x*y*", "a?c", "*.tmp", "/tmp/*", r"C:\Windows", r"a\*b",
    r"a\?b", r"a\\*b", r"a\\\*b", r"back\\slash", r"end\\", "per%cent", "under_score", "it's", "[set]", "^caret",
    "two  words", "-flag", "1", "007", "true", "a**b", "?*", "*?*a",
]
PLAIN = ["abc", "nc -e", "whoami", "/etc/passwd", "-enc", "x", "100%", "a_b", "sh -i", "Zz9"]
NETWORKS = ["10.0.0.0/8", "192.0.2.0/24", "192.0.2.128/25", "198.51.100.7/32", "172.16.0.0/12", "2001:db8::/32", "fe80::/64"]
PATTERNS = ["^abc$", "a.c", "[0-9]{2,4}", "(foo|bar)+", "nc\\s+-e", "^/tmp/.*\\.sh$", "(?:x|y)z?", "\\d+\\.\\d+"]
NUMBERS = [0, 1, -1, 22, 443, 65535, 3.5]

# Chains of modifiers, each with the values it is tried with.
CHAINS = {
    "": TEXTS, "contains": PLAIN + ["a*c", "a?c", r"a\*b"], "startswith": PLAIN + ["a*c"], "endswith": PLAIN + ["a?c"],
    "cased": PLAIN, "contains|cased": PLAIN, "startswith|cased": PLAIN, "endswith|cased": PLAIN,
    "neq": PLAIN, "contains|neq": PLAIN, "contains|all": PLAIN, "startswith|all": PLAIN, "endswith|all": PLAIN,
    "re": PATTERNS, "re|i": PATTERNS, "re|s": PATTERNS, "re|m": PATTERNS, "re|i|m|s": PATTERNS,
    "re|all": PATTERNS, "cidr": NETWORKS, "base64": PLAIN, "base64|contains": PLAIN,
    # One byte alone has no character of its own at every offset.
    "base64offset|contains": [text for text in PLAIN if len(text) > 1], "windash": ["-flag", "a -b", "/c x", "-a -b"], "windash|contains": ["-enc", " -x"],
    "windash|contains|all": ["-enc", "-x"],
}


def identity(name):
    """The id of a rule of this name, always the same."""
    return str(uuid.uuid5(NAMESPACE, name))


def write(name, detection, source=None):
    """One rule as text, with its name and id."""
    document = {
        "title": f"Generated: {name}",
        "id": identity(name),
        "name": name,
        "logsource": source or {"product": "linux"},
        "detection": detection,
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    return {"name": name, "id": document["id"], "text": text}


def slug(chain):
    return chain.replace("|", "_") or "plain"


def list_modifier_rules(rng):
    """One rule per chain of modifiers and value, one per chain and list of values."""
    rules = []
    for chain, values in CHAINS.items():
        key = lambda field: f"{field}|{chain}" if chain else field
        singles = [] if chain.endswith("all") else values
        for number, value in enumerate(singles):
            field = FIELDS[number % len(FIELDS)]
            rules.append(write(f"{slug(chain)}_{number}", {"s": {key(field): value}, "condition": "s"}))
        for number in range(3):
            chosen = rng.sample(values, min(len(values), 2 + number))
            if len(chosen) > 1:
                rules.append(write(f"{slug(chain)}_list_{number}", {"s": {key("CommandLine"): chosen}, "condition": "s"}))
        rules.append(write(f"{slug(chain)}_not", {"s": {key("Image"): values[:2]}, "condition": "not s"}))
    return rules


def list_other_rules():
    """Numbers, booleans, null, exists, comparisons, references between fields."""
    rules = []
    def add(name, *items):
        for number, item in enumerate(items):
            rules.append(write(f"{name}_{number}", {"s": item, "condition": "s"}))
            rules.append(write(f"{name}_{number}_not", {"s": item, "o": {"User": "u"}, "condition": "o and not s"}))
    add("number", *({"Port": number} for number in NUMBERS[:-1]), {"Port": [22, 80]}, {"Port|neq": 22})
    add("flag", {"Initiated": True}, {"Initiated": False}, {"Initiated": "true"})
    add("null", {"User": None}, {"User": None, "Image": "abc"})
    add("empty", {"User": ""}, {"User|neq": ""})
    add("exists", {"User|exists": True}, {"User|exists": False}, {"User|exists": False, "Image": "x"})
    for relation in ("lt", "lte", "gt", "gte"):
        add(relation, *({f"Count|{relation}": number} for number in NUMBERS))
    add("range", {"Count|gte": 10, "Count|lt": 20})
    for place in ("", "|startswith", "|endswith", "|contains"):
        add(f"fieldref{slug(place[1:])}", {f"Image|fieldref{place}": "ParentImage"})
    add("fieldref_neq", {"Image|fieldref|neq": "ParentImage"})
    return rules


def list_time_rules():
    """Parts of a time; the week is left to the engine's own tests, because judges count it differently."""
    wanted = {"minute": [0, 30, 59], "hour": [0, 13, 23], "day": [1, 28], "month": [1, 6, 12], "year": [2025]}
    rules = []
    for part, numbers in wanted.items():
        for number in numbers:
            rules.append(write(f"{part}_{number}", {"s": {f"Time|{part}": number}, "condition": "s"}))
    return rules


def list_dotted_rules():
    """Names with dots, which mean nested objects."""
    return [
        write("dotted_plain", {"s": {"process.name": "nc"}, "condition": "s"}),
        write("dotted_deep", {"s": {"process.parent.name|endswith": ["/sh", "/bash"]}, "condition": "s"}),
        write("dotted_not", {"s": {"process.name": "nc"}, "f": {"process.parent.name": None}, "condition": "s and not f"}),
        write("dotted_all", {"s": {"process.args|contains|all": ["-e", "sh"]}, "condition": "s"}),
    ]


def list_keyword_rules():
    """Keywords alone, in lists, with `all`, with wildcards, beside fields."""
    shapes = {
        "one": {"k": ["failed"], "condition": "k"},
        "scalar": {"k": "failed", "condition": "k"},
        "two": {"k": ["failed", "Root Login"], "condition": "k"},
        "all": {"k": {"|all": ["failed", "root"]}, "condition": "k"},
        "wildcards": {"k": ["fa*ed", "ro?t", r"50\*"], "condition": "k"},
        "signs": {"k": ["100%", "a_b", "it's", r"\\x", "[x]"], "condition": "k"},
        "number": {"k": [4625], "condition": "k"},
        "regex": {"k": {"|re": ["fail(ed|ure)", "[0-9]{3}"]}, "condition": "k"},
        "not": {"k": ["failed"], "s": {"User": "u"}, "condition": "s and not k"},
        "beside": {"k": ["failed", "denied"], "s": {"User": ["u", "v"]}, "condition": "k and s"},
        "mixed": {"k": ["failed", {"User": "u"}], "condition": "k"},
        "two_lists": {"k1": ["failed"], "k2": ["denied"], "condition": "1 of k*"},
    }
    return [write(f"keyword_{name}", detection) for name, detection in shapes.items()]


def list_condition_rules(rng, count):
    """Conditions of every shape over four selections and one that `them` leaves out."""
    selections = {
        "sel_a": {"Image|endswith": ["/a", "/b"]},
        "sel_b": [{"User": "u"}, {"User": "v", "Image|contains": "x"}],
        "filter_a": {"CommandLine|contains": "ok"},
        "filter_b": {"Image": "/a", "User": "u"},
        "_hidden": {"CommandLine|contains": "hidden"},
    }
    fixed = [
        "1 of them", "all of them", "any of them", "1 of sel_*", "all of sel_*", "any of filter_*", "not 1 of filter_*",
        "sel_a and not 1 of filter_*", "1 of sel_* and not all of filter_*", "not (sel_a or sel_b)",
        "sel_a or sel_b and not filter_a", "(sel_a or sel_b) and not filter_a", "not not sel_a", "not sel_a and not sel_b",
        "_hidden or sel_a", "all of *_a", "1 of _hidden", "not all of them", "sel_a and sel_a", "sel_a or not sel_a",
        "1 of *", "all of *", "sel_a and (filter_a or not filter_b)", "((sel_a))",
    ]
    conditions = list(fixed)
    conditions += [grow(rng, list(selections), 4) for _ in range(count)]
    rules = [write(f"condition_{number}", {**selections, "condition": text}) for number, text in enumerate(conditions)]
    rules.append(write("condition_list", {**selections, "condition": ["sel_a and filter_a", "sel_b"]}))
    return rules


def grow(rng, names, depth):
    """A condition at random."""
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(names + ["1 of sel_*", "all of filter_*", "1 of them", "all of them"])
    kind = rng.choice(["and", "or", "not"])
    inner = lambda: grow(rng, names, depth - 1)
    if kind == "not":
        return f"not ({inner()})"
    return f"({inner()} {kind} {inner()})" if rng.random() < 0.5 else f"{inner()} {kind} {inner()}"


def list_rules(rng, conditions):
    """All rules of one seed."""
    plain = list_modifier_rules(rng) + list_other_rules() + list_time_rules() + list_dotted_rules()
    return plain + list_keyword_rules() + list_condition_rules(rng, conditions)
