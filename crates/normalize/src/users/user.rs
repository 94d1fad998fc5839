//! Users added, changed, locked and removed.
//! It never reads a line about a group's members.

use super::{of_user, parse_quoted, split_quoted};
use crate::address::parse_number;
use crate::reading::{Facts, Reading, is_name, split_only};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    if let Some(rest) = message.strip_prefix("new user: name=") {
        return parse_new(rest);
    }
    parse_removal(message)
        .or_else(|| parse_change(message))
        .or_else(|| parse_password(message))
        .or_else(|| parse_facts(message))
        .into()
}

/// `U, UID=N, GID=N, home=H, shell=S[, from=F]`; home and shell may hold anything.
fn parse_new(rest: &str) -> Reading<'_> {
    let read = || {
        let (user, rest) = rest.split_once(", UID=")?;
        let (uid, rest) = rest.split_once(", GID=")?;
        let (gid, rest) = rest.split_once(", home=")?;
        let (uid, gid): (u32, u32) = (parse_number(uid)?, parse_number(gid)?);
        is_name(user).then_some((user, uid, gid, rest))
    };
    let Some((user, uid, gid, rest)) = read() else {
        return Reading::Other;
    };
    let Some((home, shell)) = split_only(rest, ", shell=") else {
        return Reading::Ambiguous;
    };
    let shell = match shell.split_once(", from=") {
        None => shell,
        Some(_) => match split_only(shell, ", from=") {
            Some((shell, _)) => shell,
            None => return Reading::Ambiguous,
        },
    };
    let facts = of_user("user_added", user).number("uid", uid);
    let facts = facts.number("gid", gid).text("home", home);
    facts.text("shell", shell).into()
}

/// `delete user 'U'`
fn parse_removal(message: &str) -> Option<Facts<'_>> {
    let user = parse_quoted(message.strip_prefix("delete user ")?)?;
    Some(of_user("user_deleted", user))
}

/// `change user 'U' WHAT from 'OLD' to 'NEW'`, `lock user 'U' password` and their relatives.
fn parse_change(message: &str) -> Option<Facts<'_>> {
    if let Some(rest) = message.strip_prefix("change user name ") {
        let (user, rest) = split_quoted(rest)?;
        let new_user = parse_quoted(rest.strip_prefix(" to ")?)?;
        return Some(of_user("user_changed", user).text("new_user", new_user));
    }
    for (verb, action) in [
        ("lock user ", "account_locked"),
        ("unlock user ", "account_unlocked"),
    ] {
        if let Some(rest) = message.strip_prefix(verb) {
            let (user, rest) = split_quoted(rest)?;
            return (rest == " password").then(|| of_user(action, user));
        }
    }
    let (user, rest) = split_quoted(message.strip_prefix("change user ")?)?;
    if rest == " password" {
        return Some(of_user("password_changed", user));
    }
    let (what, rest) = rest.strip_prefix(' ')?.split_once(" from '")?;
    let (_, new) = split_only(rest.strip_suffix('\'')?, "' to '")?;
    let changed = || of_user("user_changed", user);
    match what {
        "UID" => Some(changed().number("uid", parse_number::<u32>(new)?)),
        "GID" => Some(changed().number("gid", parse_number::<u32>(new)?)),
        "home" => Some(changed().text("home", new)),
        "shell" => Some(changed().text("shell", new)),
        "expiration" | "inactive" => Some(of_user("aging_changed", user)),
        _ => None,
    }
}

/// `password for 'U' changed by 'B'`
fn parse_password(message: &str) -> Option<Facts<'_>> {
    let (user, rest) = split_quoted(message.strip_prefix("password for ")?)?;
    let by = match rest.strip_prefix(" changed by ") {
        Some(by) => Some(parse_quoted(by)?),
        None if rest == " changed" => None,
        None => return None,
    };
    Some(of_user("password_changed", user).text_if("by", by))
}

/// `changed password expiry for U`, `changed user 'U' information`, `changed user 'U' shell to 'S'`
fn parse_facts(message: &str) -> Option<Facts<'_>> {
    if let Some(user) = message.strip_prefix("changed password expiry for ") {
        return is_name(user).then(|| of_user("aging_changed", user));
    }
    let (user, rest) = split_quoted(message.strip_prefix("changed user ")?)?;
    if rest == " information" {
        return Some(of_user("info_changed", user));
    }
    let shell = rest.strip_prefix(" shell to '")?.strip_suffix('\'')?;
    Some(of_user("user_changed", user).text("shell", shell))
}
