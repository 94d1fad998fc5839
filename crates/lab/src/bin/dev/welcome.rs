//! What `cargo x dev` prints: what runs where, keys and logins, and three lines to paste.
//! It never prints a person's token; the lines read it from a file that vanishes with the world.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hidps_lab::netns::Namespace;
use hidps_lab::world::person::Person;
use hidps_lab::world::{ADMIN, AGENT, PASSWORD, STRANGER, VIEWER, World};

/// A viewer for the terminal.
const WATCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/watch.mjs");

/// The whole text.
pub(crate) async fn text(world: &World) -> Result<String> {
    let viewer = world.sign_in(VIEWER).await?;
    let admin = save_token(world, &world.admin, "admin")?;
    let viewer = save_token(world, &viewer, "viewer")?;
    let mut text = String::from(
        "\nHIDPS runs on this machine. Ctrl-C stops all of it and leaves nothing behind.\n\n",
    );
    describe_parts(world, &mut text)?;
    describe_people(world, &mut text)?;
    text.push_str("\nTry, each in another terminal:\n");
    let packages = world.stack.node_packages();
    let packages = packages
        .canonicalize()
        .context("the npm packages are there")?;
    let watch = format!(
        "HIDPS_NPM={} node {WATCH} ws://{} {AGENT} {}",
        packages.display(),
        world.daemon.address(),
        viewer.display(),
    );
    let watch_log = "watch the host's live log, as a member who may only read";
    let tries = std::iter::once((watch_log, watch)).chain(list_tries(world, &admin));
    for (number, (what, line)) in tries.enumerate() {
        write!(text, "\n  {}. {what}\n\n{line}\n", number + 1)?;
    }
    Ok(text)
}

fn describe_parts(world: &World, text: &mut String) -> Result<()> {
    let stack = &world.stack;
    let daemon = world.daemon.address();
    let place = world.host.namespace().map_or_else(
        || "on this machine; the firewall is only observed".to_owned(),
        |place| format!("in the network namespace {place}"),
    );
    let (data, files) = (stack.data_dir().display(), world.directory().display());
    writeln!(
        text,
        "  Supabase         {}   a compatible subset: REST, Auth, Realtime",
        stack.url()
    )?;
    writeln!(text, "  publishable key  {}", stack.publishable_key())?;
    writeln!(text, "  secret key       {}", stack.secret_key())?;
    writeln!(text, "  database         {}", stack.database_url())?;
    writeln!(
        text,
        "  mail             smtp://{}   caught, never sent",
        stack.smtp_address()
    )?;
    writeln!(
        text,
        "  daemon           http://{daemon}   /livez /readyz /metrics"
    )?;
    writeln!(text, "  agent            web-01, {place}")?;
    writeln!(
        text,
        "  processes        daemon {}, agent {}",
        world.daemon.id(),
        world.agent.id()
    )?;
    writeln!(text, "  files            {data} and {files}")?;
    if let Some(why) = world.host.why_degraded() {
        writeln!(
            text,
            "\n  No namespace of its own, so no real firewall: {why}"
        )?;
    }
    Ok(())
}

fn describe_people(world: &World, text: &mut String) -> Result<()> {
    writeln!(
        text,
        "\n  People sign in at {} with the password {PASSWORD}:",
        world.stack.url()
    )?;
    writeln!(
        text,
        "    {ADMIN:<18} owner of Acme, to which web-01 belongs"
    )?;
    writeln!(text, "    {VIEWER:<18} member of Acme who may only read")?;
    writeln!(
        text,
        "    {STRANGER:<18} owner of Globex, who sees none of it"
    )?;
    Ok(())
}

fn list_tries(world: &World, admin: &Path) -> Vec<(&'static str, String)> {
    let rest = format!("{}/rest/v1", world.stack.url());
    let person = format!(
        "-H 'apikey: {}' -H \"Authorization: Bearer $(cat {})\" -H 'Content-Type: application/json'",
        world.stack.publishable_key(),
        admin.display(),
    );
    let first = world.host.namespace().map_or_else(
        || watch_a_file(world, &rest, &person),
        |host| turn_on_firewall(host, &rest, &person),
    );
    std::iter::once(first)
        .chain(guess_passwords(world, &rest, &person))
        .collect()
}

fn turn_on_firewall(host: &Namespace, rest: &str, person: &str) -> (&'static str, String) {
    let line = format!(
        "curl -sS -X PATCH '{rest}/agent_stats?agent_id=eq.{AGENT}' {person} \
         -d '{{\"firewall_enabled\":true}}' && sleep 2 && ip netns exec {host} nft list ruleset",
    );
    let what = "turn on the host's firewall by writing a row, and look at it";
    (what, line)
}

fn watch_a_file(world: &World, rest: &str, person: &str) -> (&'static str, String) {
    let notes = world.directory().join("notes");
    let notes = notes.display();
    let columns = "type,status,reason,message,observed_generation";
    let line = format!(
        "date > {notes} && curl -sS '{rest}/monitored_files' {person} \
         -d '{{\"agent_id\":\"{AGENT}\",\"file_path\":\"{notes}\"}}' && sleep 2 && date >> {notes} \
         && curl -sS '{rest}/agent_conditions?select={columns}' {person}",
    );
    (
        "have a file watched, change it, and read how the host is",
        line,
    )
}

fn guess_passwords(world: &World, rest: &str, person: &str) -> Option<(&'static str, String)> {
    let address = world.host.ssh()?.address();
    let stranger = world.host.stranger();
    let place = stranger.map_or_else(String::new, |place| format!("ip netns exec {place} "));
    // ssh takes what its password program prints, which here is the question: a wrong password.
    let line = format!(
        "for n in 1 2 3 4 5 6; do SSH_ASKPASS=/bin/echo SSH_ASKPASS_REQUIRE=force \
         {place}ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -o LogLevel=ERROR -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 \
         -p {} root@{} true; done; sleep 2; \
         curl -sS '{rest}/alerts?select=title,message,severity,occurrences&resolved=eq.false' {person}",
        address.port(),
        address.ip(),
    );
    let what = "guess passwords from outside, read the alert, and see the mail here";
    Some((what, line))
}

fn save_token(world: &World, person: &Person, name: &str) -> Result<PathBuf> {
    let path = world.directory().join(format!("{name}.token"));
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    file.and_then(|mut file| file.write_all(person.access_token().as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
