//! Messages of the tools that keep users and groups: useradd, usermod, gpasswd, passwd and more.
//! Of the lines one change leaves in several files only one is told.

mod group;
mod user;

use super::reading::{Facts, Reading, is_name};

/// The programs that speak so.
pub(super) const PROGRAMS: [&str; 14] = [
    "useradd", "userdel", "usermod", "groupadd", "groupdel", "groupmod", "gpasswd", "chage",
    "chfn", "chsh", "passwd", "chpasswd", "newusers", "vipw",
];

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let message = message.trim_end();
    let reading = user::parse(message);
    if reading == Reading::Other {
        group::parse(message)
    } else {
        reading
    }
}

/// `'NAME' REST`: the first quote closes, as no name has one.
fn split_quoted(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix('\'')?.split_once('\'')?;
    is_name(name).then_some((name, rest))
}

/// A text that is nothing but a quoted name.
fn parse_quoted(text: &str) -> Option<&str> {
    split_quoted(text)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(name, _)| name)
}

/// A change of one user.
fn of_user<'a>(action: &'static str, user: &'a str) -> Facts<'a> {
    Facts::action(action).text("user", user)
}

/// A change of one group.
fn of_group<'a>(action: &'static str, group: &'a str) -> Facts<'a> {
    Facts::action(action).text("group", group)
}
