"""Owns what changes rules from outside: processing pipelines and filters, made by seed.
It never writes a step that one of the engines is known to lack."""

import uuid

import yaml

import wild
from written import NAMESPACE, write

VARIABLES = {"admins": ["root", "adm*"], "hosts": ["h?1", "a.b", "x-1"], "number": [7]}
EXPANDED = [
    ("User|expand", "%admins%"), ("User|expand", ["%admins%", "%hosts%"]), ("CommandLine|contains|expand", "a%hosts%b"),
    ("Image|expand|endswith", "%hosts%%admins%"), ("CommandLine|expand", "100%"), ("Image|expand", "x%number%*"),
    ("CommandLine|contains|expand", "%not closed"),
]
DROPPED = ["@ts", "USER"]
MAPPINGS = [
    {"Image": "proc.exe", "User": "who"}, {"CommandLine": ["cmd", "args"]}, {"User": ["who", "owner"], "Image": "exe"},
    {"process.name": "Image"}, {"Image": "CommandLine", "CommandLine": "Image"}, {"größe": "size", "x-y": ["x", "y"]},
]


def rename(rng):
    """A step that gives fields other names."""
    return field_gates(rng) | rng.choice([
        {"type": "field_name_mapping", "mapping": rng.choice(MAPPINGS)},
        {"type": "field_name_prefix_mapping", "mapping": rng.choice([{"process.": "p_"}, {"U": "u."}, {"Comm": "c."}])},
        {"type": "field_name_prefix", "prefix": "win."},
        {"type": "field_name_suffix", "suffix": ".keyword"},
    ])


def other(rng):
    """A step that adds or drops a part of a rule, or moves it to another log source."""
    return rng.choice([
        {"type": "add_condition", "conditions": {"EventID": 1}},
        {"type": "add_condition", "conditions": {"channel": ["x*", "y"], "User": "u"}, "negated": True},
        {"type": "add_condition", "conditions": {"Image": "*/sh"}, "negated": rng.random() < 0.5},
        {"type": "change_logsource", "category": "other", "product": "linux"},
        {"type": "drop_detection_item", "field_name_conditions": [{"type": "include_fields", "fields": DROPPED}]},
    ])


def gates(rng):
    """Conditions of a step on rules."""
    conditions = {}
    if rng.random() < 0.4:
        wanted = rng.choice([{"category": "process_creation"}, {"product": "linux"}, {"service": "sshd", "product": "linux"}])
        conditions["rule_conditions"] = [{"type": "logsource", **wanted}]
        conditions["rule_cond_not"] = rng.random() < 0.2
    return {key: value for key, value in conditions.items() if value is not False}


def field_gates(rng):
    """Conditions of a step that renames on the names of fields."""
    conditions = {}
    if rng.random() < 0.3:
        kind = rng.choice(["include_fields", "exclude_fields"])
        fields = rng.choice([["Image"], ["User", "USER"], ["CommandLine", "Image", "@ts"]])
        conditions["field_name_conditions"] = [{"type": kind, "fields": fields}]
    return conditions


def make_pipeline(rng):
    steps = [{"id": f"step_{number}", **gates(rng), **rng.choice([rename, rename, other])(rng)} for number in range(rng.randint(1, 3))]
    steps.insert(rng.randrange(len(steps) + 1), {"id": "fill", "type": "value_placeholders"})
    content = {"name": "Generated", "priority": rng.choice([10, 50]), "vars": VARIABLES, "transformations": steps}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def list_expanded_rules(rng):
    rules = []
    for number, (key, value) in enumerate(EXPANDED):
        rules.append(write(f"expand_{number}", {"s": {key: value}, "o": {"Image": "/a"}, "condition": rng.choice(["s", "s or o", "not s"])}))
    return rules


def is_lasting(rule):
    """Whether something of each part of a rule is left when fields are dropped."""
    detection = yaml.safe_load(rule["text"])["detection"]
    for selection in detection.values():
        for part in selection if isinstance(selection, list) else [selection]:
            if isinstance(part, dict) and all(key.split("|")[0] in DROPPED for key in part):
                return False
    return True


def without_hidden_patterns(rules):
    """Rules that ask for no `1 of _*`: the judges give what is added from outside names with `_` in
    the rule itself, where such a pattern finds them."""
    return [rule for rule in rules if " of _" not in rule["text"]]


def make_pipeline_case(rng, number, count):
    """Rules and the pipelines that they go through."""
    rules = without_hidden_patterns(wild.list_wild_rules(rng, count, odd=False))
    rules = [rule for rule in rules if is_lasting(rule)] + list_expanded_rules(rng)
    return f"pipeline_{number}", rules, [make_pipeline(rng) for _ in range(rng.choice([1, 1, 2]))]


def list_filters(rng, rules, count):
    """Filters over some rules, by id or name, or over all within a log source."""
    filters = []
    for number in range(count):
        names = rng.sample(["selection", "sel_a", "sel_b", "ok"], rng.randint(1, 3))
        chosen = rng.sample(rules, 2)
        meant = rng.choice(["any", [rule["id"] for rule in chosen], [rule["name"] for rule in chosen]])
        content = {
            "title": f"Generated filter {number}",
            "id": str(uuid.uuid5(NAMESPACE, f"filter {number}")),
            "logsource": rng.choice([{"product": "linux"}, {"category": "process_creation"}, {"service": "sshd"}]),
            "filter": {
                "rules": meant,
                **{name: wild.mapping(rng, odd=False) for name in names},
                "condition": rng.choice(["not {}", "not ({})"]).format(wild.condition(rng, names, 1)),
            },
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
        filters.append({"name": f"filter_{number}", "id": content["id"], "text": text})
    return filters


def make_filter_case(rng, number, count):
    """Rules and filters that narrow them."""
    rules = without_hidden_patterns(wild.list_wild_rules(rng, count, odd=False))
    return f"filters_{number}", rules, list_filters(rng, rules, 4)
