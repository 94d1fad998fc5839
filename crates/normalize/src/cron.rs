//! Messages of cron and crontab: what ran, and whose table was touched.
//! A command is told as it stands; it is whatever its user wrote.

use super::reading::{Facts, Reading, is_name};

/// Reads `(U) WHAT (TEXT)`.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let split = || {
        let (user, rest) = message.trim_end().strip_prefix('(')?.split_once(") ")?;
        let (what, text) = rest.strip_suffix(')')?.split_once(" (")?;
        is_name(user).then_some((user, what, text))
    };
    let Some((user, what, text)) = split() else {
        return Reading::Other;
    };
    let of = |action| {
        let facts = Facts::action(action).text("user", user);
        is_name(text)
            .then(|| facts.text("target_user", text))
            .into()
    };
    match what {
        "CMD" => {
            let facts = Facts::action("command").text("user", user);
            facts.text("command", text.trim()).into()
        }
        "REPLACE" => of("crontab_replaced"),
        "BEGIN EDIT" => of("crontab_edited"),
        "LIST" => of("crontab_listed"),
        "DELETE" => of("crontab_deleted"),
        "AUTH" => {
            let facts = Facts::action("crontab_refused").text("user", user);
            facts.text("reason", text).into()
        }
        "END EDIT" | "CMDEND" | "CMDOUT" | "INFO" | "RELOAD" | "STARTUP" | "LOAD" => {
            Reading::Companion
        }
        _ => Reading::Other,
    }
}
