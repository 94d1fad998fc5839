// The mail catcher: a real SMTP server that keeps the newest mails in memory and shows them as JSON.
// Never delivers anything, never writes a mail to disk and never outlives its parent (its standard input ends with it).

import { createServer } from "node:http";
import PostalMime from "postal-mime";
import { SMTPServer } from "smtp-server";

process.title = "local-supabase-mail";
console.log = console.error;
process.stdin.resume();
process.stdin.on("close", () => process.exit(0));

// Far more than a test looks at, and a runaway sender still cannot exhaust memory.
const KEPT = 1000;
const MAX_BYTES = 5_000_000;
const mails = [];

async function read(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

function shown(envelope, mail) {
  return {
    from: envelope.mailFrom ? envelope.mailFrom.address : "",
    to: envelope.rcptTo.map(({ address }) => address),
    subject: mail.subject ?? "",
    text: mail.text ?? "",
    html: mail.html ?? null,
    headers: mail.headers.map(({ key, value }) => [key, value]),
  };
}

const smtp = new SMTPServer({
  // Loopback only, so neither a certificate nor a real login would protect anything.
  disabledCommands: ["STARTTLS"],
  authOptional: true,
  allowInsecureAuth: true,
  disableReverseLookup: true,
  size: MAX_BYTES,
  onAuth: (auth, session, callback) => callback(null, { user: auth.username ?? "anyone" }),
  onData(stream, session, callback) {
    read(stream)
      .then(async (raw) => {
        if (stream.sizeExceeded) throw Object.assign(new Error("mail too large"), { responseCode: 552 });
        mails.push(shown(session.envelope, await PostalMime.parse(raw)));
        if (mails.length > KEPT) mails.shift();
        callback();
      })
      .catch(callback);
  },
});
smtp.on("error", (error) => console.error(error));

const web = createServer((request, response) => {
  const known = request.url === "/mails" && request.method === "GET";
  response.writeHead(known ? 200 : 404, { "content-type": "application/json" });
  response.end(JSON.stringify(known ? mails : { error: "only GET /mails" }));
});

smtp.listen(Number(process.env.LOCAL_SUPABASE_SMTP_PORT ?? 0), "127.0.0.1", () =>
  web.listen(0, "127.0.0.1", () =>
    process.stdout.write(
      `${JSON.stringify({ smtp: smtp.server.address().port, http: web.address().port })}\n`,
    ),
  ),
);
