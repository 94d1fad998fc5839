//! What PAM writes, in whichever program it sits, in its old and its new form.
//! A refused credential is the companion of the program's own line and never a failure of its own.

use super::address::{Endpoint, parse_number};
use super::login::{Login, Outcome};
use super::reading::{Facts, Reading, between, is_name};

/// Which part of PAM speaks, and for which service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Speaker<'a> {
    module: &'a str,
    service: Option<&'a str>,
    /// `auth`, `account`, `session` or `chauthtok`; none in the old form.
    step: Option<&'a str>,
}

/// Splits `pam_unix(sshd:auth): TEXT`, or takes the module from a program's name of the old form,
/// `sshd(pam_unix)`.
pub(super) fn split_speaker<'a>(
    program: &'a str,
    message: &'a str,
) -> Option<(Speaker<'a>, &'a str)> {
    if let Some(rest) = message.strip_prefix("pam_") {
        let (head, text) = rest.split_once("): ")?;
        let (name, place) = head.split_once('(')?;
        let module = message.get(.."pam_".len() + name.len())?;
        let (service, step) = place.split_once(':')?;
        let speaker = Speaker {
            module,
            service: Some(service),
            step: Some(step),
        };
        let are_words = [name, service, step].into_iter().all(is_word);
        return are_words.then_some((speaker, text));
    }
    let module = program.strip_suffix(')')?.split_once('(')?.1;
    let speaker = Speaker {
        module,
        service: None,
        step: None,
    };
    (module.starts_with("pam_") && is_word(module)).then_some((speaker, message))
}

fn is_word(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Reads the text behind the speaker.
pub(super) fn parse<'a>(speaker: Speaker<'a>, text: &'a str) -> Reading<'a> {
    parse_text(speaker, text.trim_end()).map(|facts| {
        facts
            .text("pam_module", speaker.module)
            .text_if("pam_service", speaker.service)
    })
}

fn parse_text<'a>(speaker: Speaker<'a>, text: &'a str) -> Reading<'a> {
    let is_step = |step| speaker.step.is_none_or(|known| known == step);
    if is_step("auth") || is_step("chauthtok") {
        let kinds = ["authentication failure; ", "authentication success; "];
        if let Some(facts) = kinds.iter().find_map(|kind| text.strip_prefix(kind)) {
            return parse_authentication(facts);
        }
    }
    parse_session(text)
        .or_else(|| parse_password(text))
        .or_else(|| parse_lock(speaker, text))
        .into()
}

/// `logname= uid=0 euid=0 tty=ssh ruser= rhost=A  user=U`: the name comes last and may hold
/// anything.
fn parse_authentication(facts: &str) -> Reading<'_> {
    let (before_user, user) = match facts.split_once(" user=") {
        Some((before, user)) => (before, Some(user)),
        None => (facts, None),
    };
    let has_second = user.is_some_and(|user| user.contains(" rhost=") || user.contains(" user="));
    if has_second || before_user.matches("rhost=").count() > 1 {
        return Reading::Ambiguous;
    }
    let rhost = before_user.split_once("rhost=");
    let login = Login {
        user,
        source: rhost.and_then(|(_, host)| Endpoint::parse_host(host.trim())),
        ..Login::new(Outcome::Attempt)
    };
    login.into()
}

/// `PAM N more authentication failures; FACTS`, by programs that use PAM's own repetition.
pub(super) fn parse_more(message: &str) -> Option<Reading<'_>> {
    let rest = message.strip_prefix("PAM ")?;
    let (count, rest) = rest.split_once(" more authentication failure")?;
    let facts = rest
        .strip_prefix("s; ")
        .or_else(|| rest.strip_prefix("; "))?;
    parse_number::<u32>(count)?;
    Some(parse_authentication(facts))
}

/// `session opened for user U[(uid=N)] by [B](uid=N)`, `session closed for user U`
fn parse_session(text: &str) -> Option<Facts<'_>> {
    if let Some(user) = text.strip_prefix("session closed for user ") {
        return is_name(user).then(|| Facts::action("session_closed").text("user", user));
    }
    let rest = text.strip_prefix("session opened for user ")?;
    let (user, by) = rest.split_once(" by ")?;
    let (user, uid) = split_uid(user)?;
    let (by, by_uid) = split_uid(by)?;
    if !is_name(user) || !(by.is_empty() || is_name(by)) {
        return None;
    }
    let by = Some(by).filter(|by| !by.is_empty());
    let facts = Facts::action("session_opened").text("user", user);
    let facts = facts.number_if("uid", uid).text_if("by", by);
    Some(facts.number_if("by_uid", by_uid))
}

/// `root(uid=0)`, `(uid=0)`, `root`
fn split_uid(text: &str) -> Option<(&str, Option<u32>)> {
    match text.split_once("(uid=") {
        Some((name, uid)) => Some((name, Some(parse_number(uid.strip_suffix(')')?)?))),
        None => Some((text, None)),
    }
}

/// `password changed for U`, `check pass; user unknown`, `auth could not identify password for
/// [U]`, `received for user U: 7 (Authentication failure)`
fn parse_password(text: &str) -> Option<Facts<'_>> {
    let failed = || Facts::action("password_check_failed");
    if let Some(user) = text.strip_prefix("password changed for ") {
        return is_name(user).then(|| Facts::action("password_changed").text("user", user));
    }
    if let Some(user) = between(text, "auth could not identify password for [", "]") {
        return is_name(user).then(|| failed().text("user", user));
    }
    if text == "check pass; user unknown" {
        return Some(failed());
    }
    let rest = text.strip_prefix("received for user ")?;
    let (user, reason) = rest.split_once(": ")?;
    let reason = reason.split_once(" (")?.1.strip_suffix(')')?;
    is_name(user).then(|| failed().text("user", user).text("reason", reason))
}

/// `Consecutive login failures for user U account temporarily locked`, `user U (N) tally N, deny N`
fn parse_lock<'a>(speaker: Speaker<'a>, text: &'a str) -> Option<Facts<'a>> {
    let user = match speaker.module {
        "pam_faillock" => between(
            text,
            "Consecutive login failures for user ",
            " account temporarily locked",
        )?,
        "pam_tally" | "pam_tally2" => {
            let (user, rest) = text.strip_prefix("user ")?.split_once(" (")?;
            rest.contains(") tally ").then_some(user)?
        }
        _ => return None,
    };
    is_name(user).then(|| Facts::action("account_locked").text("user", user))
}

/// `password check failed for user (U)`, of the helper that reads the shadow file.
pub(super) fn parse_check(message: &str) -> Reading<'_> {
    let failed = || Facts::action("password_check_failed");
    if message == "check pass; user unknown" {
        return failed().into();
    }
    let user = between(message, "password check failed for user (", ")");
    let user = user.filter(|user| is_name(user));
    user.map(|user| failed().text("user", user)).into()
}
