// The live log of one agent for a program of your own, typed by frames.ts; it shows no text as markup.
// It never stores a token or an event, and leaves what to show to whoever calls it.

import type { Event, Refusal, StreamFrame, ViewerFrame } from "./frames.js";

/** What becomes known of a stream. */
export interface Watcher {
  /** The live log follows. */
  onWatching(): void;
  /** Events of the agent, oldest first. */
  onEvents(events: Event[]): void;
  /** So many batches were missed because this program reads too slowly. */
  onLagged(dropped: number): void;
  /** The stream ended, or something was refused. */
  onEnded(reason: Refusal | "closed", message: string): void;
}

/** What a socket has to do; a browser's WebSocket does. */
export interface Socket {
  send(text: string): void;
  addEventListener(type: "open" | "message" | "close", listener: (event: any) => void): void;
}

/** Watches an agent over a socket that is about to open; gives what shows a newer token. */
export function watch(
  socket: Socket,
  token: string,
  agentId: string,
  watcher: Watcher,
): (newer: string) => void {
  const send = (frame: ViewerFrame) => socket.send(JSON.stringify(frame));
  let isSubscribed = false;
  socket.addEventListener("open", () => send({ type: "authenticate", token }));
  socket.addEventListener("close", () => watcher.onEnded("closed", "the connection ended"));
  socket.addEventListener("message", ({ data }) => {
    const frame = JSON.parse(String(data)) as StreamFrame;
    switch (frame.type) {
      case "ready":
        // A renewed token is answered by ready, too.
        if (!isSubscribed) send({ type: "subscribe", agent_id: agentId });
        return;
      case "subscribed":
        isSubscribed = true;
        return watcher.onWatching();
      case "events":
        return watcher.onEvents(frame.events);
      case "lagged":
        return watcher.onLagged(frame.dropped);
      case "unsubscribed":
        isSubscribed = false;
        return watcher.onEnded(frame.reason, "the stream ended");
      case "refused":
        return watcher.onEnded(frame.reason, frame.message);
      case "answer":
        // Nothing was asked.
        return;
      default:
        // A frame that is not handled above does not compile.
        return ((unknown: never) => unknown)(frame);
    }
  });
  return (newer) => send({ type: "authenticate", token: newer });
}

/**
 * A text in which nothing deceives its reader or moves the cursor of a terminal: control characters, ends
 * of lines, what has no width and what turns the direction of writing are shown as the replacement
 * character. Whoever wrote into a log wrote this.
 */
export function tame(text: string): string {
  return text.replace(/[\p{Cc}\p{Default_Ignorable_Code_Point}\u2028-\u202e\ufff9-\ufffb]/gu, "\ufffd");
}

/** An event in one line of text, fit for a terminal; what shows it as markup has to escape it. */
export function line({ timestamp, type, service, message, fields }: Event): string {
  const named = Object.entries(fields ?? {}).map(([name, value]) => `${name}=${value}`);
  return tame([timestamp, type, `${service}:`, message, ...named].join(" "));
}
