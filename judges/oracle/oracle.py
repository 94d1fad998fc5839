"""Owns the oracle: pySigma turns rules into SQL, SQLite runs it over events.
It never reads our engine's answers."""

import ipaddress
import json
import re
import sqlite3
import uuid

import yaml
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import FieldFunctionTransformation
from sigma.types import SigmaCompareExpression, SigmaExpansion

FULLTEXT, TIME = "fulltext", "observed_at"
PARTS = ("category", "product", "service")


def column(field):
    """A column name of its own for each field: SQLite's know no capitals, Sigma's fields do."""
    return "f_" + field.encode().hex() if field is not None else None


class Backend(sqliteBackend):
    """The same backend with networks as networks, and keywords in one text at a time: by itself it
    compares addresses as text with wildcards, and so also takes what is no address; and a wildcard
    of a keyword would reach from one field into the next."""

    def convert_condition_field_eq_val_cidr(self, cond, state):
        return f"in_network({self.escape_and_quote_field(cond.field)}, '{cond.value.network}')"


    def convert_condition_val(self, cond, state):
        inner = super().convert_condition_val(cond, state)
        if isinstance(cond.value, SigmaExpansion):
            return inner
        return f"EXISTS (SELECT 1 FROM json_each({FULLTEXT}) AS texts WHERE {inner})"

    def _fulltext_column(self):
        return "texts.value"


def in_network(text, network):
    """SQLite's way to ask whether a text is an address in a network."""
    try:
        return ipaddress.ip_address(text) in ipaddress.ip_network(network)
    except ValueError:
        return False


def join_pipelines(texts):
    """Pipelines in the order of their priorities as one."""
    read = sorted((ProcessingPipeline.from_yaml(text) for text in texts), key=lambda one: one.priority)
    return sum(read, ProcessingPipeline())


def backend(pipelines=()):
    mapping = FieldFunctionTransformation(mapping={}, transform_func=column)
    pipeline = join_pipelines(pipelines) + ProcessingPipeline(items=[ProcessingItem(mapping)])
    return Backend(pipeline, timestamp_field=TIME, timestamp_format="unix", fulltext_field=FULLTEXT)


def regexp(pattern, text):
    """SQLite's REGEXP: whether a pattern is found in a text."""
    return text is not None and re.search(pattern, str(text)) is not None


def walk(node):
    yield node
    for child in getattr(node, "args", []):
        yield from walk(child)


def compared_fields(rules):
    """Fields that rules compare with numbers: their columns hold numbers or nothing, because
    SQLite orders every text behind every number and Sigma does not."""
    found = set()
    for rule in rules:
        if isinstance(rule, SigmaCorrelationRule):
            name = getattr(rule.condition, "fieldref", None)
            if rule.type.name.startswith("VALUE_") and rule.type.name != "VALUE_COUNT" and isinstance(name, str):
                found.add(name)
            continue
        for condition in rule.detection.parsed_condition:
            for node in walk(condition.parsed):
                if isinstance(getattr(node, "value", None), SigmaCompareExpression):
                    found.add(node.field)
    return found


def as_number(value):
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    try:
        return float(value) if re.fullmatch(r"[-+]?\d+(\.\d+)?", value) else None
    except ValueError:
        return None


def as_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def load(events, numeric):
    """A database with the events as rows, numbered from one."""
    names = sorted({name for event in events for name in event["fields"]} | {"message"})
    database = sqlite3.connect(":memory:")
    database.create_function("in_network", 2, in_network, deterministic=True)
    database.create_function("REGEXP", 2, regexp, deterministic=True)
    kinds = [f"{column(name)} {'NUMERIC' if name in numeric else 'TEXT COLLATE NOCASE'}" for name in names]
    database.execute(f"CREATE TABLE logs ({FULLTEXT} TEXT COLLATE NOCASE, {TIME} INTEGER, {', '.join(kinds)})")
    def row(event):
        fields = {"message": event["message"], **event["fields"]}
        texts = [event["message"], *(value for value in event["fields"].values() if isinstance(value, str))]
        def cell(name):
            if name not in fields:
                return None
            return as_number(fields[name]) if name in numeric else as_text(fields[name])
        return [json.dumps(texts), event.get("at", 0), *map(cell, names)]
    marks = ",".join("?" * (len(names) + 2))
    database.executemany(f"INSERT INTO logs VALUES ({marks})", map(row, events))
    return database, set(names)


def parse(text, filters=()):
    """One rule, narrowed by filters."""
    return SigmaCollection.from_dicts([yaml.safe_load(one) for one in [text, *filters]])


def changed(text, filters=(), pipelines=()):
    """A rule as filters and pipelines leave it."""
    rule = parse(text, filters).rules[0]
    join_pipelines(pipelines).apply(rule)
    return rule


def is_routed(rule, source):
    """Whether every part of the rule's log source is the event's."""
    wanted = ((getattr(rule.logsource, part), source[part]) for part in PARTS)
    return all(want is None or (have or "").lower() == want.lower() for want, have in wanted)


def source_fields(event):
    """The parts of an event's log source as fields that no rule knows."""
    return {f"observed {part}": name for part, name in event["source"].items() if name is not None}


def routed(document):
    """The same rule asking for its log source by itself: SQL of correlations has no routing."""
    if "detection" not in document:
        return document
    wanted = {f"observed {part}": name for part, name in document["logsource"].items() if part in PARTS}
    detection = {**document["detection"], "_routed": wanted}
    condition = detection["condition"]
    listed = condition if isinstance(condition, list) else [condition]
    detection["condition"] = [f"({one}) and _routed" for one in listed]
    return {**document, "detection": detection}


def query(database, names, sql):
    """Runs SQL, adding columns for fields that no event has."""
    while True:
        try:
            return database.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            missing = re.search(r"no such column: `?(\w+)`?", str(error))
            if missing is None or missing[1] in names:
                raise
            names.add(missing[1])
            database.execute(f"ALTER TABLE logs ADD COLUMN {missing[1]} TEXT COLLATE NOCASE")


def answer_events(rules, events, filters=(), pipelines=()):
    """Per rule id the numbers of the events that match, or the reason why the oracle is silent."""
    parsed = {rule["id"]: parse(rule["text"], filters) for rule in rules}
    numeric = compared_fields([changed(rule["text"], filters, pipelines) for rule in rules])
    database, names = load(events, numeric)
    answers, silent = {}, {}
    for rule_id, collection in parsed.items():
        rule = collection.rules[0]
        try:
            found = set()
            for sql in backend(pipelines).convert(collection):
                sql = sql.replace("SELECT * FROM logs", "SELECT rowid FROM logs", 1)
                found |= {row[0] - 1 for row in query(database, names, sql)}
        except Exception as error:
            silent[rule_id] = f"{type(error).__name__}: {error}"[:200]
            continue
        answers[rule_id] = sorted(index for index in found if is_routed(rule, events[index]["source"]))
    return answers, silent


RELATIONS = ("gt", "gte", "lt", "lte", "eq", "neq")


def one_bound_each(document):
    """A correlation with several bounds as one correlation for each, because pySigma takes one; it
    fires where all of them do."""
    condition = document.get("correlation", {}).get("condition")
    bounds = [key for key in condition if key in RELATIONS] if isinstance(condition, dict) else []
    yield document
    for number, bound in enumerate(bounds[1:]):
        rest = {key: value for key, value in condition.items() if key not in RELATIONS}
        split = {**document["correlation"], "condition": {bound: condition[bound], **rest}}
        yield {**document, "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{document['id']} {number}")), "name": None, "correlation": split}
    for bound in bounds[1:]:
        del condition[bound]


def one_field(document, joined):
    """A correlation that counts the values of several fields as one that counts those of one field,
    which has them all; `joined` notes its name."""
    condition = document.get("correlation", {}).get("condition")
    if isinstance(condition, dict) and isinstance(condition.get("field"), list):
        fields = tuple(condition["field"])
        condition["field"] = joined.setdefault(fields, "joined " + " ".join(fields))
    return document


def with_joined(fields, joined):
    """An event's fields, and in one more the values of several that are all there."""
    more = {}
    for names, field in joined.items():
        if all(name in fields for name in names):
            more[field] = json.dumps([as_text(fields[name]) for name in names])
    return {**fields, **more}


def answer_stream(rules, events):
    """Per rule id the numbers of the events that match or make a correlation fire."""
    joined = {}
    documents = [one_field(routed(yaml.safe_load(rule["text"])), joined) for rule in rules]
    split = {document["id"]: list(one_bound_each(document)) for document in documents}
    answers, silent = answer_documents([one for parts in split.values() for one in parts], events, joined)
    for rule_id, parts in split.items():
        if all(part["id"] in answers for part in parts):
            common = set.intersection(*(set(answers[part["id"]]) for part in parts))
            answers[rule_id] = sorted(common)
        for part in parts[1:]:
            answers.pop(part["id"], None)
    return answers, silent


def answer_documents(documents, events, joined):
    """The same for documents that pySigma takes."""
    collection = SigmaCollection.from_dicts(documents)
    shown = [{**event, "fields": {**with_joined(event["fields"], joined), **source_fields(event)}} for event in events]
    database, names = load(shown, compared_fields(collection.rules))
    at = {event["at"]: number for number, event in enumerate(events)}
    answers, silent = {}, {}
    for rule, rule_sql in convert_each(collection):
        rule_id = str(rule.id)
        if isinstance(rule_sql, Exception):
            silent[rule_id] = f"{type(rule_sql).__name__}: {rule_sql}"[:200]
        elif isinstance(rule, SigmaCorrelationRule):
            rows = query(database, names, rule_sql)
            answers[rule_id] = sorted({at[row[2]] for row in rows})
        else:
            sql = rule_sql.replace("SELECT * FROM logs", "SELECT rowid FROM logs", 1)
            answers[rule_id] = sorted(row[0] - 1 for row in query(database, names, sql))
    return answers, silent


def convert_each(collection):
    """Every rule of a collection with its SQL, or with the reason why it has none."""
    converter = backend()
    for rule in collection.rules:
        rule._output = True
    for rule in collection.rules:
        try:
            if isinstance(rule, SigmaCorrelationRule):
                sql = converter.convert_correlation_rule(rule)
            else:
                sql = converter.convert_rule(rule)
            yield rule, sql[0]
        except Exception as error:
            yield rule, error


def seconds(timespan):
    """A span of time as rules write it, in seconds."""
    return int(timespan[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[timespan[-1]]
