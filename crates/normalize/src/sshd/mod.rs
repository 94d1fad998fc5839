//! Messages of OpenSSH's server.
//! User names, versions and farewells in them are chosen by whoever knocks, spaces and all: every
//! pattern is anchored at both ends, and an address counts only where the server itself wrote it.

mod connection;
mod result;
mod trouble;

use super::reading::Reading;

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let message = message.trim_end();
    let (message, is_preauth) = match message.strip_suffix(" [preauth]") {
        Some(message) => (message, true),
        None => (message, false),
    };
    let message = message
        .strip_prefix("error: ")
        .or_else(|| message.strip_prefix("fatal: "))
        .unwrap_or(message);
    let readers = [result::parse, connection::parse, trouble::parse];
    for read in readers {
        let reading = read(message);
        if reading != Reading::Other {
            return reading.and_flag("preauth", is_preauth);
        }
    }
    // Their ends are free text, where a mark like this one could be anybody's.
    connection::parse_farewell(message).into()
}
