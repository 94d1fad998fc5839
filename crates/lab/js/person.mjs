// A person at a keyboard: acts through the official supabase-js as a browser would, one JSON command
// per line on standard input, one JSON answer per line on standard output.
// It never uses a server's key and never retries: what the client library says is the answer.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, HIDPS_NPM } = process.env;
const require = createRequire(`${HIDPS_NPM}/package.json`);
// The library advises on Node versions, which is nothing to whoever watches the person.
console.warn = () => {};
const { createClient } = require("@supabase/supabase-js");

const client = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
  // Node 20 has no WebSocket of its own.
  realtime: { transport: require("ws") },
});

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** Turns an answer of the library into its data, or throws what it refused with. */
const unwrap = ({ data, error, status }) => {
  if (error) throw { message: error.message, code: error.code ?? null, status: error.status ?? status };
  return data;
};

const matching = (query, match = {}) =>
  Object.entries(match).reduce((narrowed, [column, value]) => narrowed.eq(column, value), query);

const commands = {
  async sign_in({ email, password }) {
    const { user, session } = unwrap(await client.auth.signInWithPassword({ email, password }));
    await client.realtime.setAuth(session.access_token);
    return { user_id: user.id, access_token: session.access_token };
  },
  async select({ table, columns = "*", match }) {
    return unwrap(await matching(client.from(table).select(columns), match));
  },
  async insert({ table, rows }) {
    return unwrap(await client.from(table).insert(rows).select());
  },
  async update({ table, values, match }) {
    return unwrap(await matching(client.from(table).update(values), match).select());
  },
  async delete({ table, match }) {
    return unwrap(await matching(client.from(table).delete(), match).select());
  },
  async rpc({ name, args = {} }) {
    return unwrap(await client.rpc(name, args));
  },
  /** Follows a table; its changes arrive as messages without an id. */
  watch({ table, filter }) {
    const wanted = { event: "*", schema: "public", table, ...(filter && { filter }) };
    return new Promise((resolve, reject) => {
      client
        .channel(`person-${table}-${filter ?? "all"}`)
        .on("postgres_changes", wanted, ({ eventType, new: row }) => say({ change: { table, event: eventType, row } }))
        .on("system", {}, ({ status, extension, message }) => {
          if (extension !== "postgres_changes") return;
          if (status === "ok") resolve({ table });
          else reject({ message });
        })
        .subscribe((status, error) => {
          if (status === "CHANNEL_ERROR" || status === "TIMED_OUT") reject({ message: `${status}: ${error?.message ?? ""}` });
        });
    });
  },
};

const answer = async ({ id, do: name, ...rest }) => {
  try {
    say({ id, ok: (await commands[name](rest)) ?? null });
  } catch (error) {
    say({ id, error: { message: String(error.message ?? error), code: error.code ?? null, status: error.status ?? null } });
  }
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => void answer(JSON.parse(line)));
// The end of its input is the end of the person, subscriptions included.
lines.on("close", () => process.exit(0));
say({ ready: true });
