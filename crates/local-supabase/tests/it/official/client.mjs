// The official supabase-js against the stack: one area of its features, one line of JSON per step.
// Never decides whether the run passed; the Rust test does.

import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const { url, publishable, secret, password } = JSON.parse(process.env.STACK);
const DEADLINE = 10_000;

function connect(key = publishable) {
  return createClient(url, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  });
}

async function person(email) {
  const client = connect();
  const { data, error } = await client.auth.signInWithPassword({ email, password });
  assert.equal(error, null);
  await client.realtime.setAuth(data.session.access_token);
  return Object.assign(client, { id: data.user.id });
}

async function announce(topic, event, payload, isPrivate) {
  const { error } = await connect(secret).rpc("announce", { topic, event, payload, private: isPrivate });
  assert.equal(error, null);
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${DEADLINE} ms`)), DEADLINE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A list that can be waited on until a condition holds.
function inbox() {
  const items = [];
  const waiting = new Set();
  return {
    items,
    put(item) {
      items.push(item);
      waiting.forEach((look) => look());
    },
    until(holds, what) {
      const found = new Promise((resolve) => {
        const look = () => {
          const item = items.find(holds);
          if (item === undefined) return;
          waiting.delete(look);
          resolve(item);
        };
        waiting.add(look);
        look();
      });
      return within(found, what);
    },
  };
}

function joined(channel) {
  return within(
    new Promise((resolve) => channel.subscribe((status, error) => status !== "CLOSED" && resolve({ status, error }))),
    "join",
  );
}

// Joins and waits for "Subscribed to PostgreSQL", before which changes are lost.
async function confirmed(channel) {
  const system = new Promise((resolve) => channel.on("system", {}, resolve));
  assert.equal((await joined(channel)).status, "SUBSCRIBED");
  return within(system, "system ok");
}

const areas = {
  async auth(step) {
    const client = connect();
    const email = `new-${Date.now()}@example.test`;
    await step("somebody signs up and is signed in", async () => {
      const { data, error } = await client.auth.signUp({ email, password });
      assert.equal(error, null);
      assert.equal(data.session.token_type, "bearer");
    });
    await step("the same address cannot sign up twice", async () => {
      const { error } = await connect().auth.signUp({ email, password });
      assert.equal(error.code, "user_already_exists");
    });
    await step("a wrong password is refused", async () => {
      const { error } = await connect().auth.signInWithPassword({ email, password: "wrong-password" });
      assert.equal(error.code, "invalid_credentials");
    });
    await step("a session is refreshed", async () => {
      const { data, error } = await client.auth.refreshSession();
      assert.equal(error, null);
      assert.equal(data.user.email, email);
    });
    await step("the token names the user", async () => {
      const { data } = await client.auth.getUser();
      assert.equal(data.user.email, email);
    });
    await step("somebody signs out", async () => {
      assert.equal((await client.auth.signOut()).error, null);
    });
  },

  async rest(step) {
    const [admin, stranger] = [await person("admin@acme.test"), await person("admin@other.test")];
    const columns = "id, owner, body, details, made_at";
    await step("a row is inserted and comes back with its defaults", async () => {
      const { data, error, status } = await admin.from("notes").insert({ body: "mine", details: { a: [1] } }).select(columns).single();
      assert.equal(error, null);
      assert.equal(status, 201);
      assert.equal(data.owner, admin.id);
      assert.deepEqual(data.details, { a: [1] });
    });
    await step("a stranger sees nothing", async () => {
      const { data, error } = await stranger.from("notes").select(columns);
      assert.equal(error, null);
      assert.deepEqual(data, []);
    });
    await step("nobody without a session sees the table", async () => {
      const { error, status } = await connect().from("notes").select(columns);
      assert.equal(error.code, "42501");
      assert.equal(status, 401);
    });
    await step("a column without a grant cannot be read", async () => {
      const { error, status } = await admin.from("notes").select("hidden");
      assert.equal(error.code, "42501");
      assert.equal(status, 403);
    });
    await step("a service key sees everything", async () => {
      const { data } = await connect(secret).from("notes").select("hidden").limit(1);
      assert.deepEqual(data, [{ hidden: "nobody reads this" }]);
    });
    await step("a function of the project is called as the person", async () => {
      const { data, error } = await admin.rpc("me");
      assert.equal(error, null);
      assert.equal(data.email, "admin@acme.test");
    });
    await step("json arguments of a function arrive as what they are", async () => {
      const kinds = [["object", { a: [1, "ö"] }], ["array", [{ b: null }]], ["string", "text"]];
      for (const [kind, value] of kinds) {
        const { data, error } = await admin.rpc("describe", { plain: value, stored: value });
        assert.equal(error, null);
        assert.deepEqual(data, [kind, value, kind, value]);
      }
    });
    await step("json columns keep what they are given", async () => {
      for (const details of [{ a: 1 }, [1, "x"], "text", null]) {
        const { data, error } = await admin.from("notes").insert({ details }).select("details").single();
        assert.equal(error, null);
        assert.deepEqual(data, { details });
      }
    });
    await step("an unknown table has the code of PostgREST", async () => {
      const { error, status } = await admin.from("nowhere").select();
      assert.equal(error.code, "PGRST205");
      assert.equal(status, 404);
    });
  },

  async changes(step) {
    const [admin, stranger] = [await person("admin@acme.test"), await person("admin@other.test")];
    const [own, foreign, filtered] = [inbox(), inbox(), inbox()];
    const filter = { event: "*", schema: "public", table: "notes" };
    await step("a subscription is confirmed after the join", async () => {
      const system = await confirmed(admin.channel("own").on("postgres_changes", filter, own.put));
      assert.equal(system.status, "ok");
      assert.equal(system.extension, "postgres_changes");
      await confirmed(stranger.channel("foreign").on("postgres_changes", filter, foreign.put));
      const narrow = { ...filter, event: "UPDATE", filter: "body=eq.changed" };
      await confirmed(admin.channel("filtered").on("postgres_changes", narrow, filtered.put));
    });
    const { data: row } = await admin.from("notes").insert({ body: "first", details: { deep: [1, null] } }).select("id").single();
    await step("the owner sees the insert with Supabase's value formats", async () => {
      const { eventType, new: record, old, errors } = await own.until(({ new: { id } }) => id === row.id, "insert");
      assert.equal(eventType, "INSERT");
      assert.equal(errors, null);
      assert.deepEqual(old, {});
      assert.deepEqual(record, { id: row.id, owner: admin.id, body: "first", details: { deep: [1, null] }, made_at: "2026-11-20T23:57:47.5+00:00" });
    });
    await admin.from("notes").update({ body: "unheard" }).eq("id", row.id);
    await admin.from("notes").update({ body: "changed" }).eq("id", row.id);
    await step("an update has the key as its old row, and a filter lets only its own through", async () => {
      const { old } = await own.until(({ eventType, new: { body } }) => eventType === "UPDATE" && body === "changed", "update");
      assert.deepEqual(old, { id: row.id });
      await filtered.until(({ new: { body } }) => body === "changed", "filtered update");
      assert.equal(filtered.items.length, 1);
    });
    await admin.from("notes").delete().eq("id", row.id);
    await step("a delete reaches even the stranger, by key only, and nothing else did", async () => {
      const { eventType, old, new: record } = await foreign.until(({ old: { id } }) => id === row.id, "delete");
      assert.equal(eventType, "DELETE");
      assert.deepEqual([old, record], [{ id: row.id }, {}]);
      // Others remove rows of theirs at the same time, and the stranger hears of these as well.
      assert.ok(foreign.items.every((item) => item.eventType === "DELETE"));
    });
    await step("a table that is not published is refused in the stream", async () => {
      const system = await confirmed(admin.channel("none").on("postgres_changes", { ...filter, table: "nowhere" }, () => {}));
      assert.equal(system.status, "error");
      assert.match(system.message, /Unable to subscribe to changes/);
    });
  },

  async broadcast(step) {
    const [first, second] = [connect(), connect()];
    const [heard, own] = [inbox(), inbox()];
    const config = { broadcast: { ack: true, self: true } };
    const sender = first.channel("room", { config }).on("broadcast", { event: "*" }, own.put);
    await step("two clients without a session join a public topic", async () => {
      assert.equal((await joined(second.channel("room").on("broadcast", { event: "*" }, heard.put))).status, "SUBSCRIBED");
      assert.equal((await joined(sender)).status, "SUBSCRIBED");
    });
    await step("a message is acknowledged, heard by the other and by the sender who asked for it", async () => {
      assert.equal(await sender.send({ type: "broadcast", event: "hello", payload: { ö: 1 } }), "ok");
      assert.deepEqual((await heard.until(({ event }) => event === "hello", "message")).payload, { ö: 1 });
      await own.until(({ event }) => event === "hello", "own message");
    });
    await step("bytes arrive as bytes", async () => {
      await sender.send({ type: "broadcast", event: "bytes", payload: new Uint8Array([0, 255]).buffer });
      const { payload } = await heard.until(({ event }) => event === "bytes", "bytes");
      assert.deepEqual([...new Uint8Array(payload)], [0, 255]);
    });
    await step("a message sent by REST arrives", async () => {
      const answer = await first.channel("room-by-rest").httpSend("posted", { n: 1 }).catch((error) => error);
      assert.equal(answer.success, true);
    });
    await step("a message of the database arrives", async () => {
      await announce("room", "stored", { n: 2 }, false);
      const { payload } = await heard.until(({ event }) => event === "stored", "stored message");
      assert.equal(payload.n, 2);
    });
    await step("presence is accepted", async () => {
      assert.equal(await sender.track({ here: true }), "ok");
    });
  },

  async private(step) {
    const [admin, stranger] = [await person("admin@acme.test"), await person("admin@other.test")];
    const topic = `person:${admin.id}`;
    const config = { private: true };
    const heard = inbox();
    await step("the person whom the policy names joins", async () => {
      assert.equal((await joined(admin.channel(topic, { config }).on("broadcast", { event: "*" }, heard.put))).status, "SUBSCRIBED");
    });
    await step("anybody else is refused", async () => {
      for (const client of [stranger, connect()]) {
        const { status, error } = await joined(client.channel(topic, { config }));
        assert.equal(status, "CHANNEL_ERROR");
        assert.match(error.message, /Unauthorized/);
      }
    });
    await step("a message of the database arrives once, with its id", async () => {
      await announce(topic, "news", { n: 1 }, true);
      const { payload, meta } = await heard.until(({ event }) => event === "news", "news");
      assert.equal(payload.n, 1);
      assert.equal(payload.id, meta.id);
    });
    await step("a public message on the same topic does not arrive", async () => {
      await announce(topic, "public", {}, false);
      await announce(topic, "last", {}, true);
      await heard.until(({ event }) => event === "last", "last");
      assert.deepEqual(heard.items.map(({ event }) => event), ["news", "last"]);
    });
    await step("a service key joins without a policy", async () => {
      const service = connect(secret);
      assert.equal((await joined(service.channel("anything", { config }))).status, "SUBSCRIBED");
    });
  },
};

async function step(name, run) {
  const outcome = await run().then(() => null, (error) => error.stack);
  console.log(JSON.stringify({ step: name, failure: outcome }));
}

await areas[process.env.AREA](step);
process.exit(0);
