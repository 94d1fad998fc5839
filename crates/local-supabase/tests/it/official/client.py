"""The official Python `realtime` client against the stack: one line of JSON per step.

Never decides whether the run passed; the Rust test does.
"""

import asyncio
import json
import os
import traceback
import urllib.error
import urllib.request

from realtime import AsyncRealtimeClient

STACK = json.loads(os.environ["STACK"])
DEADLINE = 10


def rest(method, path, body=None):
    request = urllib.request.Request(
        f"{STACK['url']}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"apikey": STACK["secret"], "content-type": "application/json", "prefer": "return=representation"},
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {path}: {error.code} {error.read()!r}") from error


class Inbox:
    """What arrived, in order; a wait ends when something fits."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def until(self, fits):
        return await asyncio.wait_for(self._until(fits), DEADLINE)

    async def _until(self, fits):
        while True:
            item = await self.queue.get()
            if fits(item):
                return item


async def step(name, run):
    failure = None
    try:
        await run()
    except Exception:
        failure = traceback.format_exc()
    print(json.dumps({"step": name, "failure": failure}), flush=True)


async def main():
    client = AsyncRealtimeClient(f"{STACK['url']}/realtime/v1", STACK["secret"])
    await client.connect()
    changes, system, messages = Inbox(), Inbox(), Inbox()
    channel = client.channel("python", {"config": {"broadcast": {"self": True, "ack": False}, "presence": None, "private": False}})
    channel.on_postgres_changes("*", schema="public", table="notes", callback=changes.queue.put_nowait)
    channel.on_system(system.queue.put_nowait)
    channel.on_broadcast("hello", messages.queue.put_nowait)

    async def subscribed():
        await channel.subscribe()
        confirmed = await system.until(lambda _: True)
        assert confirmed.status == "ok", confirmed
        assert confirmed.extension == "postgres_changes", confirmed

    async def changed():
        [row] = rest("POST", "/rest/v1/notes", {"body": "python", "owner": STACK["owner"]})
        event = await changes.until(lambda event: event["data"]["type"] == "INSERT" and event["data"]["record"]["id"] == row["id"])
        assert event["data"]["record"]["body"] == "python", event
        rest("DELETE", f"/rest/v1/notes?id=eq.{row['id']}")
        event = await changes.until(lambda event: event["data"]["type"] == "DELETE")
        assert event["data"]["old_record"] == {"id": row["id"]}, event

    async def heard():
        await channel.send_broadcast("hello", {"n": 1})
        message = await messages.until(lambda _: True)
        assert message["payload"] == {"n": 1}, message

    async def left():
        await channel.unsubscribe()
        await client.close()

    await step("a subscription is confirmed", subscribed)
    await step("an insert and a delete arrive", changed)
    await step("a broadcast arrives", heard)
    await step("the channel is left", left)


asyncio.run(main())
