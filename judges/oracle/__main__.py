"""Owns the command line: makes cases (rules, events and the oracle's answers) and writes them.
It never compares anything; `hidps-judges` does."""

import argparse
import json
import pathlib
import random
import re

import yaml

import changed
import oracle
import streams
import wild
import written
from events import as_documents, list_hits, make_events


def parse_arguments():
    parser = argparse.ArgumentParser(prog="oracle")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--own", type=pathlib.Path, required=True)
    parser.add_argument("--community", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=60, help="events for each rule")
    parser.add_argument("--streams", type=int, default=20, help="streams of 200 events")
    parser.add_argument("--cut", action="store_true", help="a small case of each kind, to be stored")
    return parser.parse_args()


def read_documents(folder):
    """Every document of every rule file below a folder, with its text."""
    for path in sorted(folder.rglob("*.yml")):
        if path.name.endswith(".test.yml"):
            continue
        text = path.read_text()
        parts = re.split(r"(?m)^---\s*$", text)
        for part in parts:
            content = yaml.safe_load(part)
            if content:
                name = str(path.relative_to(folder))
                yield {"name": content.get("name", name), "id": str(content["id"]), "text": part, "content": content}


def only_rules(documents):
    """The documents that look at single events."""
    return [{key: one[key] for key in ("name", "id", "text")} for one in documents if "detection" in one["content"]]


def parsed(rules, filters=(), pipelines=()):
    return [oracle.changed(rule["text"], filters, pipelines) for rule in rules]


def events_case(name, rules, rng, per_rule, filters=(), pipelines=()):
    """Rules, filters among them, with the pipelines that they go through."""
    texts = [one["text"] for one in filters]
    events = make_events(parsed(rules, texts, pipelines), rng, per_rule)
    matches, silent = oracle.answer_events(rules, events, texts, pipelines)
    return {
        "name": name, "kind": "events", "rules": [*rules, *filters], "pipelines": list(pipelines), "events": events,
        "matches": matches, "silent": silent,
    }


def changed_cases(rng, count):
    """Rules that filters narrow and pipelines rewrite."""
    for number in range(count):
        name, rules, filters = changed.make_filter_case(rng, number, 30)
        yield events_case(name, rules, rng, 12, filters=filters)
        name, rules, pipelines = changed.make_pipeline_case(rng, number, 30)
        case = events_case(name, rules, rng, 12, pipelines=pipelines)
        if any("change_logsource" in text for text in pipelines):
            case["alone"] = "it keeps the parts of a log source that a change does not name"
        yield case


def documents_case(name, rules, rng, per_rule):
    """Events that no table can hold: the oracle has no answer, the other engine has."""
    events = as_documents(make_events(parsed(rules), rng, per_rule), rng)
    silent = {rule["id"]: "events are not flat" for rule in rules}
    return {"name": name, "kind": "documents", "rules": rules, "events": events, "matches": {}, "silent": silent}


def stream_case(name, rules, events):
    matches, silent = oracle.answer_stream(rules, events)
    return {"name": name, "kind": "stream", "rules": rules, "events": events, "matches": matches, "silent": silent}


def tied_case(name, rules, events):
    """Events of which many are of one time: the oracle has no answer, the other engine has."""
    silent = {rule["id"]: "events of one time have no order in SQL" for rule in rules}
    return {"name": name, "kind": "stream", "rules": rules, "events": events, "matches": {}, "silent": silent}


def generated_streams(rng, count, length):
    """Streams over every type of correlation."""
    for kind, correlations in streams.KINDS.items():
        rules = streams.list_bases() + correlations()
        for number in range(count):
            yield stream_case(f"stream_{kind}_{number}", rules, streams.make_stream(rng, length))
            yield tied_case(f"tied_{kind}_{number}", rules, streams.make_stream(rng, length, streams.TIED))


def own_streams(documents, rng, count, length):
    """Streams over the correlations that this project ships."""
    contents = streams.reporting([one["content"] for one in documents])
    known = {key: one for one in contents for key in (one.get("name"), str(one["id"]))}
    def members(one):
        listed = one["correlation"]["rules"]
        for name in [listed] if isinstance(listed, str) else listed:
            yield known[name]
            if "correlation" in known[name]:
                yield from members(known[name])
    for root in contents:
        if "correlation" not in root:
            continue
        chosen = {str(one["id"]): one for one in [*members(root), root]}.values()
        bases = [streams.as_rule({"name": str(one["id"]), **one}) for one in chosen if "detection" in one]
        hits = [hit for rule in parsed(bases) for hit in list_hits(rule, rng, 10)]
        joined = [one["correlation"] for one in chosen if "correlation" in one]
        groups = sorted({name for one in joined for name in fields_of(one)})
        spans = [oracle.seconds(one["timespan"]) for one in joined]
        rules = [streams.as_rule({"name": str(one["id"]), **one}) for one in chosen]
        for number in range(count):
            events = streams.stream_of(hits, groups, spans, rng, length)
            yield stream_case(f"own_{root.get('name') or root['id']}_{number}", rules, events)


def fields_of(correlation):
    """The fields that a correlation groups by or counts the values of."""
    group = correlation.get("group-by", [])
    condition = correlation.get("condition")
    field = condition.get("field", []) if isinstance(condition, dict) else []
    listed = lambda names: [names] if isinstance(names, str) else names
    return [*listed(group), *listed(field)]


def list_cases(arguments):
    def drawn(name):
        return random.Random(f"{arguments.seed} {name}")

    documents = list(read_documents(arguments.own))
    own, per_rule = only_rules(documents), arguments.events
    if arguments.cut:
        rng = drawn("cut")
        yield events_case("own", rng.sample(own, 10), rng, 8)
        # Parts of times are left out: judges differ on texts that are no times.
        rules = [rule for rule in written.list_rules(rng, 20) if "Time|" not in rule["text"]]
        yield events_case("generated", rng.sample(rules, 150), rng, 4)
        yield from generated_streams(rng, 1, 80)
        return
    yield events_case("own", own, drawn("own"), per_rule)
    yield events_case("generated", written.list_rules(drawn("rules"), 100), drawn("generated"), per_rule)
    yield documents_case("documents", written.list_rules(drawn("rules"), 20), drawn("documents"), max(per_rule // 4, 4))
    yield events_case("wild", wild.list_wild_rules(drawn("wild rules"), per_rule * 5, odd=False), drawn("wild"), 12)
    odd = events_case("odd", wild.list_wild_rules(drawn("odd rules"), per_rule * 5, odd=True), drawn("odd"), 12)
    yield {**odd, "alone": "the second judge is known to read such rules otherwise"}
    wild_rules = wild.list_wild_rules(drawn("wild rules"), per_rule * 3, odd=False)
    yield documents_case("wild_documents", wild_rules, drawn("wild documents"), 6)
    yield from changed_cases(drawn("changed"), arguments.streams)
    yield from generated_streams(drawn("streams"), arguments.streams, 200)
    yield from own_streams(documents, drawn("own streams"), 2, 150)
    if arguments.community:
        rules = only_rules(read_documents(arguments.community))
        yield events_case("community", rules, drawn("community"), per_rule)


def main():
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for case in list_cases(arguments):
        path = arguments.out / f"{case['name']}.json"
        path.write_text(json.dumps(case, ensure_ascii=True, separators=(",", ":")))
        for rule, reason in case["silent"].items() if case["matches"] else ():
            print(f"oracle: {case['name']}: silent on {rule}: {reason}")


if __name__ == "__main__":
    main()
