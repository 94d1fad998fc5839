// REST and Auth: the official @supabase/lite on the stack's Postgres, on a loopback port it chooses.
// Never outlives its parent (its standard input ends with it) and never grants anything to a request without a key.

import { serve } from "@hono/node-server";
import { App, SmtpEmailDriver } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";

process.title = "local-supabase-lite";
console.log = console.error;
process.stdin.resume();
process.stdin.on("close", () => process.exit(0));

// The server encodes the JSON arguments of a function itself, and the driver, told by Postgres that they are JSON,
// would encode them again: objects would arrive as strings. What is an encoded object or array already goes out as
// it is.
function encodeJson(value) {
  if (typeof value === "string" && /^\s*[[{]/.test(value)) {
    try {
      JSON.parse(value);
      return value;
    } catch {
      // Text that merely begins like JSON.
    }
  }
  return JSON.stringify(value);
}

const json = (oid) => ({ to: oid, from: [oid], serialize: encodeJson, parse: JSON.parse });

const settings = JSON.parse(process.env.LOCAL_SUPABASE);
const connection = createPostgresConnection({
  url: settings.database,
  postgresOptions: { types: { json: json(114), jsonb: json(3802) } },
});
const app = new App({
  connection,
  api: { schemas: ["public"] },
  auth: {
    enabled: true,
    enable_signup: true,
    jwt_secret: settings.jwt_secret,
    jwt_expiry: settings.jwt_expiry,
    publishable_key: settings.publishable_key,
    secret_key: settings.secret_key,
    email: { enable_confirmations: false },
  },
  storage: { enabled: false },
  options: {
    server: { admin: false },
    drivers: {
      email: new SmtpEmailDriver({
        host: settings.smtp_host,
        port: settings.smtp_port,
        from: "auth@local-supabase.invalid",
        requireTls: false,
      }),
    },
  },
});

// Makes the tables of schema auth, which the migrations refer to.
await app.ensureSystemSchema();

// A Postgres that goes away fails the requests that need it and never the server, which goes on when it is back.
process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));

const server = serve(
  {
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, env) =>
      app.fetch(request, { peerAddress: env.incoming.socket.remoteAddress ?? null }),
  },
  ({ port }) => process.stdout.write(`${JSON.stringify({ http: port })}\n`),
);
server.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
