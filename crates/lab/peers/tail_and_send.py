"""A log agent as one writes it in an hour: follow a file, one JSON text per line, one WebSocket
frame each. It is what `cargo x bench agent` compares the agent with; nothing else uses it."""

import asyncio
import json
import re
import sys
from datetime import datetime, timezone

import websockets

KINDS = [
    ("login", re.compile(r"sshd\[|sudo:|su\[|login\[")),
    ("firewall", re.compile(r"UFW|nft|iptables")),
    ("process", re.compile(r"CRON\[|systemd\[")),
]


async def follow(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        while True:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
            else:
                await asyncio.sleep(0.1)


async def main(path, url):
    async with websockets.connect(url) as socket:
        async for line in follow(path):
            kind = next((kind for kind, shape in KINDS if shape.search(line)), "agent_info")
            event = {
                "timestamp": datetime.now(timezone.utc).isoformat(),
                "service": path,
                "message": line,
                "type": kind,
            }
            await socket.send(json.dumps(event))


asyncio.run(main(sys.argv[1], sys.argv[2]))
