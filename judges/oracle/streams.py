"""Owns correlations of every type and streams of events over them.
It never makes two events at one time unless asked to: the oracle knows no order among them."""

import copy

import yaml

from written import identity

SPAN = 10
GAPS = [1, 1, 1, 2, 3, 5, SPAN - 1, SPAN, SPAN + 1]
TIED = [0, 0, 0, 1, 2, SPAN, SPAN + 1]
BASES = {name: {"action": name} for name in ("login_failed", "login_done", "sudo_run")}


def document(name, **content):
    return {"title": f"Generated: {name}", "id": identity(name), "name": name, **content}


def as_rule(content):
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return {"name": content["name"], "id": content["id"], "text": text}


def list_bases():
    """The rules over single events that correlations join."""
    source = {"product": "linux"}
    make = lambda name, item: document(name, logsource=source, detection={"s": item, "condition": "s"})
    return [as_rule(make(name, item)) for name, item in BASES.items()]


def correlation(name, kind, rules, condition=None, group=("user",), **more):
    content = {"type": kind, "rules": list(rules), "timespan": f"{SPAN}s", "generate": True, **more}
    if group:
        content["group-by"] = list(group)
    if condition is not None:
        content["condition"] = condition
    return as_rule(document(name, correlation=content))


def list_correlations():
    """Correlations of every type, each of which all judges can be asked about."""
    one, three = ["login_failed"], list(BASES)
    rules = []
    for relation, bound in [("gte", 3), ("gt", 2), ("eq", 2), ("lt", 3), ("lte", 2), ("neq", 2), ("gte", 1)]:
        rules.append(correlation(f"event_count_{relation}_{bound}", "event_count", one, {relation: bound}))
    rules.append(correlation("event_count_two_rules", "event_count", three[:2], {"gte": 3}))
    rules.append(correlation("event_count_global", "event_count", one, {"gte": 4}, group=()))
    rules.append(correlation("event_count_two_groups", "event_count", one, {"gte": 2}, group=("user", "host")))
    for relation, bound in [("gte", 3), ("lt", 3), ("eq", 2)]:
        condition = {relation: bound, "field": "port"}
        rules.append(correlation(f"value_count_{relation}_{bound}", "value_count", one, condition))
    rules.append(correlation("temporal_all", "temporal", three))
    rules.append(correlation("temporal_two", "temporal", three, {"gte": 2}))
    rules.append(correlation("temporal_ordered_two", "temporal_ordered", three[:2]))
    rules.append(correlation("temporal_ordered_three", "temporal_ordered", three))
    aliases = {"who": {"login_failed": "user", "sudo_run": "host"}}
    rules.append(correlation("aliased", "temporal", ["login_failed", "sudo_run"], group=("who",), aliases=aliases))
    rules.append(correlation("chain_of_count", "temporal_ordered", ["event_count_gte_3", "login_done"]))
    rules.append(correlation("chain_of_chain", "event_count", ["chain_of_count"], {"gte": 1}))
    return rules


def list_numeric_correlations():
    """Correlations over the values of numbers."""
    rules = []
    for kind, bound in [("value_sum", 50), ("value_avg", 10), ("value_median", 10)]:
        for relation in ("gte", "lt"):
            condition = {relation: bound, "field": "bytes"}
            rules.append(correlation(f"{kind}_{relation}", kind, ["login_failed"], condition))
    condition = {"gte": 15, "field": "bytes", "percentile": 90}
    rules.append(correlation("value_percentile", "value_percentile", ["login_failed"], condition))
    return rules


def list_boolean_correlations():
    """Conditions over the names of rules, without `not`: when its absence is certain differs."""
    failed, done, run = BASES
    texts = {
        "or": ([failed, run], f"{failed} or {run}"),
        "and": ([failed, done], f"{failed} and {done}"),
        "both": ([failed, done, run], f"{failed} and ({done} or {run})"),
    }
    return [correlation(f"temporal_{name}", "temporal", rules, text) for name, (rules, text) in texts.items()]


def list_wide_correlations():
    """Bounds on both sides, values of several fields, text and numbers as groups, chains whose parts
    are grouped by different fields, rules joined by id."""
    one, three = ["login_failed"], list(BASES)
    rules = []
    for name, condition in [("inside", {"gte": 2, "lte": 3}), ("between", {"gt": 1, "lt": 4}), ("above", {"gte": 2, "neq": 3})]:
        rules.append(correlation(f"range_events_{name}", "event_count", one, condition))
        rules.append(correlation(f"range_values_{name}", "value_count", one, {**condition, "field": "port"}))
        rules.append(correlation(f"range_temporal_{name}", "temporal", three, condition))
    rules.append(correlation("range_sum", "value_sum", one, {"gte": 20, "lt": 60, "field": "bytes"}))
    rules.append(correlation("range_average", "value_avg", one, {"gt": 5, "lte": 20, "field": "bytes"}))
    rules.append(correlation("fields_two", "value_count", one, {"gte": 3, "field": ["port", "host"]}))
    rules.append(correlation("fields_three", "value_count", three, {"gte": 4, "field": ["port", "host", "bytes"]}, group=()))
    rules.append(correlation("fields_range", "value_count", one, {"gte": 2, "lt": 4, "field": ["port", "bytes"]}))
    rules.append(correlation("by_number", "event_count", one, {"gte": 2}, group=("port",)))
    rules.append(correlation("by_number_and_text", "value_count", one, {"gte": 2, "field": "bytes"}, group=("port", "host")))
    rules.append(correlation("by_id", "event_count", [identity("sudo_run"), "login_done"], {"gte": 3}))
    rules.append(correlation("sum_of_count", "value_sum", ["range_events_base"], {"gte": 50, "field": "bytes"}))
    rules.append(correlation("range_events_base", "event_count", one, {"gte": 2}, group=("user",)))
    rules.append(correlation("chain_by_host", "event_count", one, {"gte": 2}, group=("host",)))
    rules.append(correlation("chain_by_user", "temporal_ordered", ["chain_by_host", "login_done"]))
    rules.append(correlation("chain_global", "event_count", ["chain_by_host"], {"gte": 2}, group=()))
    aliases = {"who": {"login_failed": "user", "chain_by_host": "host"}}
    rules.append(correlation("chain_aliased", "temporal", ["login_failed", "chain_by_host"], group=("who",), aliases=aliases))
    return rules


KINDS = {
    "counts": list_correlations, "values": list_numeric_correlations, "names": list_boolean_correlations,
    "wide": list_wide_correlations,
}


def make_stream(rng, length, gaps=GAPS):
    """Events of two users on two hosts."""
    at, events = 1000, []
    for _ in range(length):
        at += rng.choice(gaps)
        fields = {
            "action": rng.choice([*BASES, "login_failed", "other"]),
            "user": rng.choice(["u1", "u2", "u2"]),
            "host": rng.choice(["u1", "h2"]),
            "port": rng.choice([1, 2, 3, 4]),
            "bytes": rng.choice([1, 5, 10, 20, 40]),
        }
        for name in ("user", "port", "bytes"):
            if rng.random() < 0.05:
                del fields[name]
        source = {"category": None, "product": rng.choice(["linux"] * 9 + ["other"]), "service": None}
        events.append({"source": source, "message": "", "fields": fields, "at": at})
    return events


def reporting(documents):
    """The same documents with every correlation letting the rules it joins report too, and no word
    about when alerts are raised again: that is no matter of matching."""
    changed = copy.deepcopy(documents)
    for one in changed:
        one.get("hidps", {}).pop("rearm", None)
        if "correlation" in one:
            one["correlation"]["generate"] = True
    return changed


def stream_of(hits, groups, spans, rng, length):
    """A stream of events that match given rules, with few values for the fields that group them."""
    at, events = 1000, []
    for _ in range(length):
        span = rng.choice(spans)
        at += rng.choice([1, 1, 1, 2, max(span // 10, 1), max(span // 4, 1), max(span - 1, 1), span + 1])
        event = copy.deepcopy(rng.choice(hits))
        for name in groups:
            event["fields"].setdefault(name, f"{name}{rng.randrange(3)}")
            if rng.random() < 0.2:
                event["fields"][name] = f"{name}{rng.randrange(9)}"
        event["at"] = at
        events.append(event)
    return events
