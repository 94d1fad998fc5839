//! A door for the fuzz targets of this repository, and for nobody else: a session without a socket.
//! Never part of what this crate promises.

use std::time::Instant;

use crate::config::{Channel, Config};
use crate::error::RealtimeError;
use crate::event::Event;
use crate::secret::Secret;
use crate::session::{Output, Patience, Session};

/// Token the session joins with; no error may repeat it.
pub const TOKEN: &str = "token-of-the-fuzzer";

/// Joins a channel with two tables and broadcasts, receives the frames, and tells what its owner is told, up to the
/// first failure, as the driver of a real socket does.
///
/// A frame that is no text, or that begins with the first byte of a broadcast, is taken for a binary one.
pub fn receive<'a>(
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Result<Event, RealtimeError>> {
    let channel = Channel::new("feed")
        .broadcast()
        .changes("public", "desired_generations")
        .changes("public", "feed_canary");
    let config = Config::new("http://host", "sb_secret_x", channel.clone());
    let now = Instant::now();
    let mut session = Session::join(channel, Patience::from(&config), Secret::from(TOKEN), now);
    let mut told = Vec::new();
    for frame in frames {
        match std::str::from_utf8(frame) {
            Ok(text) if !text.starts_with('\u{4}') => session.on_text(text, now),
            Ok(_) | Err(_) => session.on_binary(frame),
        }
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(_) => {}
                Output::Emit(event) => told.push(Ok(event)),
                Output::Fail(error) => {
                    told.push(Err(error));
                    return told;
                }
            }
        }
    }
    told
}
