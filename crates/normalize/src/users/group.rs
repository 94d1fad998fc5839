//! Groups and who is in them.
//! The lines about the shadow file repeat those about the group file and are not told again.

use super::{of_group, of_user, parse_quoted, split_quoted};
use crate::address::parse_number;
use crate::reading::{Facts, Reading, is_name};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    parse_member(message)
        .or_else(|| parse_removed(message))
        .or_else(|| parse_changed(message))
        .or_else(|| Some(parse_new(message)?.into()))
        .or_else(|| Some(parse_tool(message)?.into()))
        .unwrap_or(Reading::Other)
}

/// `add 'U' to group 'G'`, `delete 'U' from group 'G'`, `change 'U' to 'V' in group 'G'`
fn parse_member(message: &str) -> Option<Reading<'_>> {
    if let Some(rest) = message.strip_prefix("change ") {
        // A renamed user's memberships: the new name has a line of its own.
        let (_, rest) = split_quoted(split_quoted(rest)?.1.strip_prefix(" to ")?)?;
        let rest = rest.strip_prefix(" in ")?;
        let group = rest.strip_prefix("shadow ").unwrap_or(rest);
        parse_quoted(group.strip_prefix("group ")?)?;
        return Some(Reading::Companion);
    }
    let (rest, word, action) = match message.strip_prefix("add ") {
        Some(rest) => (rest, " to ", "member_added"),
        None => (message.strip_prefix("delete ")?, " from ", "member_removed"),
    };
    let (user, rest) = split_quoted(rest)?;
    let rest = rest.strip_prefix(word)?;
    if let Some(group) = rest.strip_prefix("shadow group ") {
        parse_quoted(group)?;
        return Some(Reading::Companion);
    }
    let group = parse_quoted(rest.strip_prefix("group ")?)?;
    Some(of_user(action, user).text("group", group).into())
}

/// `new group: name=G, GID=N`; the file's own lines are its companions.
fn parse_new(message: &str) -> Option<Facts<'_>> {
    let (group, gid) = message
        .strip_prefix("new group: name=")?
        .split_once(", GID=")?;
    let gid: u32 = parse_number(gid)?;
    is_name(group).then(|| of_group("group_added", group).number("gid", gid))
}

/// `group 'G' removed`, `removed group 'G' owned by 'U'`
fn parse_removed(message: &str) -> Option<Reading<'_>> {
    if let Some(rest) = message.strip_prefix("removed ") {
        let Some(rest) = rest.strip_prefix("group ") else {
            split_quoted(rest.strip_prefix("shadow group ")?)?;
            return Some(Reading::Companion);
        };
        let (group, rest) = split_quoted(rest)?;
        parse_quoted(rest.strip_prefix(" owned by ")?)?;
        return Some(of_group("group_deleted", group).into());
    }
    let (group, rest) = split_quoted(message.strip_prefix("group ")?)?;
    match rest {
        " removed" => Some(of_group("group_deleted", group).into()),
        rest if rest.starts_with(" removed from /etc/") => Some(Reading::Companion),
        _ => None,
    }
}

/// `group changed in /etc/group (group G/N, new name: G, new gid: N)`
fn parse_changed(message: &str) -> Option<Reading<'_>> {
    if message.starts_with("group added to /etc/g") {
        return Some(Reading::Companion);
    }
    let (file, rest) = message
        .strip_prefix("group changed in ")?
        .split_once(" (group ")?;
    if file != "/etc/group" {
        return Some(Reading::Companion);
    }
    let (group, rest) = rest.strip_suffix(')')?.split_once('/')?;
    if !is_name(group) {
        return None;
    }
    let gid = rest.split_once(", new gid: ").map(|(_, gid)| gid);
    let gid: Option<u32> = match gid {
        Some(gid) => Some(parse_number(gid)?),
        None => None,
    };
    Some(
        of_group("group_changed", group)
            .number_if("gid", gid)
            .into(),
    )
}

/// What gpasswd writes.
fn parse_tool(message: &str) -> Option<Facts<'_>> {
    if let Some(rest) = message.strip_prefix("user ") {
        let member = |added: &str, action| {
            let (user, rest) = rest.split_once(added)?;
            let (by, group) = rest.split_once(if action == "member_added" {
                " to group "
            } else {
                " from group "
            })?;
            let are_names = [user, by, group].into_iter().all(is_name);
            let facts = || of_user(action, user).text("group", group).text("by", by);
            are_names.then(facts)
        };
        return member(" added by ", "member_added")
            .or_else(|| member(" removed by ", "member_removed"));
    }
    let kinds = ["members of group ", "administrators of group "];
    if let Some(rest) = kinds.iter().find_map(|kind| message.strip_prefix(kind)) {
        let (group, rest) = rest.split_once(" set by ")?;
        let (by, members) = rest.split_once(" to ").unwrap_or((rest, ""));
        let facts = || of_group("group_changed", group).text("by", by);
        let is_whole = [group, by].into_iter().all(is_name);
        return is_whole.then(|| facts().text("members", members));
    }
    let (group, by) = parse_group_password(message)?;
    let are_names = [group, by].into_iter().all(is_name);
    are_names.then(|| of_group("group_changed", group).text("by", by))
}

/// `password of group G changed by B`, `… removed by B`, `access to group G restricted by B`
fn parse_group_password(message: &str) -> Option<(&str, &str)> {
    if let Some(rest) = message.strip_prefix("access to group ") {
        return rest.split_once(" restricted by ");
    }
    let rest = message.strip_prefix("password of group ")?;
    rest.split_once(" changed by ")
        .or_else(|| rest.split_once(" removed by "))
}
