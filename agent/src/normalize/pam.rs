//! What PAM writes about a refused authentication, in whichever program it sits.
//! It is the companion of the program's own line and never counts as a failure of its own.

use super::login::{Endpoint, Login, Outcome, Reading, parse_ip};

/// Reads `pam_unix(sshd:auth): authentication failure; logname= uid=0 … rhost=A  user=U`.
pub(super) fn parse(message: &str) -> Option<Reading<'_>> {
    let (module, rest) = message.split_once(": ")?;
    let (name, service) = module.strip_suffix(')')?.split_once('(')?;
    let facts = rest.strip_prefix("authentication failure; ")?;
    if !name.starts_with("pam_") || !service.ends_with(":auth") {
        return None;
    }
    // The user's name comes last and may hold anything.
    let (before_user, user) = facts
        .split_once(" user=")
        .map_or((facts, None), |(before, user)| (before, Some(user)));
    let has_second = user.is_some_and(|user| user.contains(" rhost=") || user.contains(" user="));
    if has_second || before_user.matches("rhost=").count() > 1 {
        return Some(Reading::Ambiguous);
    }
    let rhost = before_user
        .split_once("rhost=")
        .map(|(_, rest)| rest.trim());
    let login = Login {
        user,
        source: rhost
            .and_then(parse_ip)
            .map(|ip| Endpoint { ip, port: None }),
        ..Login::new(Outcome::Attempt)
    };
    Some(Some(login).into())
}
