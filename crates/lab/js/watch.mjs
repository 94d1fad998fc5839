// A viewer for the terminal: prints the live log of one agent, one event per line.
//   node watch.mjs <daemon, such as ws://127.0.0.1:18443> <agent id> <file with an access token>
// It never stores anything and ends with its connection.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [daemon, agent, tokenFile] = process.argv.slice(2);
const require = createRequire(`${process.env.HIDPS_NPM}/package.json`);
const WebSocket = require("ws");

const token = readFileSync(tokenFile, "utf8").trim();
const socket = new WebSocket(`${daemon}/v1/viewers/connect`, {
  headers: { authorization: `Bearer ${token}` },
});
const print = {
  ready: () => socket.send(JSON.stringify({ type: "subscribe", agent_id: agent })),
  subscribed: () => console.log(`watching ${agent}; Ctrl-C ends it`),
  events: ({ events }) => {
    for (const { timestamp, type, service, message, fields } of events) {
      console.log(`${timestamp} ${type} ${service}: ${message} ${fields ? JSON.stringify(fields) : ""}`);
    }
  },
  lagged: ({ dropped }) => console.log(`too slow: ${dropped} batches were left out`),
  refused: ({ reason, message }) => console.log(`refused: ${reason}: ${message}`),
  unsubscribed: ({ reason }) => console.log(`the live log ended: ${reason}`),
};
socket.on("message", (text) => {
  const frame = JSON.parse(text);
  print[frame.type]?.(frame);
});
socket.on("error", ({ message }) => console.error(message));
socket.on("close", () => process.exit(0));
