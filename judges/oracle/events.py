"""Owns events made from a rule: such that should match, near misses, and noise.
It never says which of them match; the oracle does."""

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionIdentifier,
    ConditionNOT,
    ConditionOR,
    ConditionSelector,
    ConditionValueExpression,
)
from sigma.types import SigmaExpansion, SigmaFieldReference

from values import Wishes, mutate, swap_case

CATEGORIES = [None, "process_creation", "file_event", "network_connection", "other"]
PRODUCTS = [None, "linux", "windows", "hidps"]
SERVICES = [None, "sshd", "sudo", "auditd", "syslog", "other"]


def list_trees(rule):
    """The parsed conditions of a rule."""
    return [condition.parsed for condition in rule.detection.parsed_condition]


def widest(node):
    """How many alternatives the widest part of a condition has."""
    children = [widest(child) for child in getattr(node, "args", []) if hasattr(child, "args") or is_leaf(child)]
    own = len(node.args) if isinstance(node, ConditionOR) else 1
    return max([own, *children])


def is_leaf(node):
    return isinstance(node, (ConditionFieldEqualsValueExpression, ConditionValueExpression))


class Plan:
    """What an event must be so that one branch of a condition holds."""

    def __init__(self, rng, turn, with_denied):
        self.rng, self.turn, self.with_denied = rng, turn, with_denied
        self.fields, self.references, self.words = {}, [], []

    def follow(self, node):
        """Takes every part of an AND and one part of an OR."""
        if isinstance(node, ConditionFieldEqualsValueExpression):
            self.take(node.field, node.value)
        elif isinstance(node, ConditionValueExpression):
            self.take_word(node.value)
        elif isinstance(node, ConditionOR):
            self.follow(node.args[self.turn % len(node.args)])
        elif isinstance(node, ConditionNOT):
            if self.with_denied:
                self.follow(node.args[0])
        elif isinstance(node, (ConditionAND, ConditionIdentifier, ConditionSelector)):
            for child in node.args:
                self.follow(child)

    def take(self, field, value):
        if isinstance(value, SigmaFieldReference):
            self.references.append((field, value))
        else:
            self.fields.setdefault(field, Wishes()).add(value, self.rng)

    def take_word(self, value):
        if isinstance(value, SigmaExpansion):
            value = self.rng.choice(value.values)
        wishes = Wishes()
        wishes.add(value, self.rng)
        self.words.append(str(wishes.value(self.rng)))

    def event(self, source):
        fields = {name: wishes.value(self.rng) for name, wishes in self.fields.items()}
        for field, reference in self.references:
            base = str(fields.get(reference.field) or self.rng.choice(["one", "Two", "3"]))
            fields[reference.field] = base
            before = self.rng.choice(["", "", "pre"])
            behind = self.rng.choice(["", "", "post"])
            fields[field] = before + base + behind
        message = self.rng.choice(["", "m "]) + " ".join(self.words)
        fields = {name: value for name, value in fields.items() if value is not None}
        if "message" in fields:
            message = str(fields.pop("message"))
        return {"source": source, "message": message, "fields": fields}


def source_of(rule, rng):
    """A log source that the rule admits, perhaps with parts it does not ask for."""
    own = rule.logsource
    def part(wanted, others):
        return wanted.lower() if wanted else rng.choice(others)
    return {
        "category": part(own.category, CATEGORIES),
        "product": part(own.product, PRODUCTS),
        "service": part(own.service, SERVICES),
    }


def list_hits(rule, rng, most):
    """Events of which each follows one branch of the condition."""
    hits = []
    trees = list_trees(rule)
    turns = max(widest(tree) for tree in trees)
    chosen = range(turns) if turns <= most else rng.sample(range(turns), most)
    for turn in chosen:
        for tree in trees:
            for with_denied in (False, True):
                plan = Plan(rng, turn, with_denied)
                plan.follow(tree)
                hits.append(plan.event(source_of(rule, rng)))
    return hits


def near_misses(event, rng):
    """Events that differ from one in one thing each."""
    fields = event["fields"]
    changed = []
    def with_fields(new):
        changed.append({**event, "fields": new})
    for name, value in fields.items():
        with_fields({**fields, name: mutate(value, rng)})
        with_fields({**fields, name: swap_case(value, rng)})
        with_fields({other: own for other, own in fields.items() if other != name})
    if fields:
        name = rng.choice(list(fields))
        with_fields({**fields, name: ""})
        with_fields({**fields, name: rng.choice([0, 1, True, False, 22, -1])})
        with_fields({swap_case(name, rng): value for name, value in fields.items()})
    if event["message"]:
        changed.append({**event, "message": mutate(event["message"], rng)})
        changed.append({**event, "message": swap_case(event["message"], rng)})
    source = dict(event["source"])
    source[rng.choice(list(source))] = rng.choice([None, "other"])
    changed.append({**event, "source": source})
    return changed


def make_events(rules, rng, per_rule):
    """Events for a set of rules: at most `per_rule` for each, and a tenth of noise."""
    events, hits_of = [], {}
    for number, rule in enumerate(rules):
        try:
            hits = list_hits(rule, rng, most=max(per_rule // 4, 1))
        except Exception as error:
            raise ValueError(f"the oracle cannot read rule {rule.id} ({rule.title})") from error
        made = hits + [miss for hit in rng.sample(hits, min(len(hits), 6)) for miss in near_misses(hit, rng)]
        rng.shuffle(made)
        hits_of[number] = hits
        events.extend(hits[: per_rule // 3] + made[: per_rule - len(hits[: per_rule // 3])])
    for _ in range(len(events) // 10):
        left, right = (rng.choice(hits_of[rng.randrange(len(rules))]) for _ in range(2))
        events.append({
            "source": left["source"],
            "message": left["message"] + " " + right["message"],
            "fields": {**left["fields"], **right["fields"]},
        })
    return events


def as_documents(events, rng):
    """The same events as documents that nest: null, lists, and objects where names have dots."""
    documents = []
    for event in events:
        fields = {}
        for name, value in event["fields"].items():
            shape = rng.choice(["plain", "plain", "null", "list", "list of one"])
            if shape == "null":
                value = None
            elif shape == "list":
                value = rng.sample([value, mutate(value, rng)], 2)
            elif shape == "list of one":
                value = [value]
            nest(fields, name.split("."), value)
        documents.append({**event, "fields": fields})
    return documents


def nest(fields, path, value):
    """Puts a value where a path of names leads; what is in the way stays."""
    for name in path[:-1]:
        inner = fields.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        fields = inner
    fields[path[-1]] = value
