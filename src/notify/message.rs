//! What a mail about an alert or an account says: subject, text and HTML with the same content.
//! It never lets text from a host become a header, markup, a link or a character that deceives.

use jiff::Timestamp;

use crate::model::{Notice, NotifiedAccount, NotifiedAlert, is_misleading};

/// Longest line of evidence, in characters; more would push the advice off the screen.
const MAX_EVIDENCE_CHARS: usize = 300;

/// Most lines of evidence.
const MAX_EVIDENCE_LINES: usize = 5;

/// The parts of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailText {
    /// Constant for the life of the alert, so that mail programs keep one thread.
    pub(super) subject: String,
    /// Plain text.
    pub(super) text: String,
    /// The same in HTML.
    pub(super) html: String,
}

/// How a mail about an alert ends.
const RESOLVE_IT: &str = "Resolve the alert in the console when it is dealt with.";

/// How a mail about an account ends.
const IT_CONCERNS_YOU: &str = "You get this mail because it concerns your own account.";

/// Writes the mail.
#[must_use]
pub(super) fn write_mail(notice: &Notice) -> MailText {
    match notice {
        Notice::Alert(alert) => write_alert(alert),
        Notice::Account(account) => write_account(account),
    }
}

fn write_account(account: &NotifiedAccount) -> MailText {
    let subject = format!("[HIDPS] {}", plain(&account.title, 100));
    let mut facts = vec![
        ("What", plain(&account.message, 600)),
        ("When", utc(account.at)),
    ];
    if let Some(advice) = &account.advice {
        facts.push(("What to do now", plain(advice, 600)));
    }
    MailText {
        text: write_text(&facts, &[], IT_CONCERNS_YOU),
        html: write_html(&subject, &facts, &[], IT_CONCERNS_YOU),
        subject,
    }
}

fn write_alert(alert: &NotifiedAlert) -> MailText {
    let level = level(alert.severity);
    let organization = plain(&alert.organization, 60);
    let subject = format!(
        "[HIDPS][{level}] {} on {}{}",
        plain(&alert.title, 100),
        plain(&alert.agent_name, 60),
        if organization.is_empty() {
            String::new()
        } else {
            format!(" (org {organization})")
        },
    );
    let facts = facts(alert, level);
    let evidence: Vec<String> = alert
        .evidence
        .iter()
        .take(MAX_EVIDENCE_LINES)
        .map(|line| plain(line, MAX_EVIDENCE_CHARS))
        .collect();
    let text = write_text(&facts, &evidence, RESOLVE_IT);
    let html = write_html(&subject, &facts, &evidence, RESOLVE_IT);
    MailText {
        subject,
        text,
        html,
    }
}

fn level(severity: u8) -> &'static str {
    match severity {
        4.. => "CRITICAL",
        3 => "HIGH",
        2 => "MEDIUM",
        0..=1 => "LOW",
    }
}

/// The lines of the mail in the order in which somebody woken at night needs them.
fn facts(alert: &NotifiedAlert, level: &str) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("What", plain(&alert.message, 600)),
        (
            "Where",
            format!("{} ({})", plain(&alert.agent_name, 60), alert.agent_id),
        ),
        ("When", when(alert)),
        ("How often", how_often(alert)),
        ("Severity", format!("{level}, risk {} of 100", alert.risk)),
    ];
    if let Some(advice) = &alert.advice {
        facts.push(("What to do now", plain(advice, 600)));
    }
    if alert.is_storm {
        let held = "there were too many mails about this host; for an hour, look in the console";
        facts.push(("Further mails", held.to_owned()));
    }
    facts.push(("Rule", plain(&alert.rule_id, 80)));
    facts.push(("Alert", alert.id.to_string()));
    facts
}

fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn when(alert: &NotifiedAlert) -> String {
    if alert.first_seen == alert.last_seen {
        return utc(alert.first_seen);
    }
    format!(
        "first {}, last {}",
        utc(alert.first_seen),
        utc(alert.last_seen)
    )
}

fn how_often(alert: &NotifiedAlert) -> String {
    match alert.occurrences {
        1 => "once".to_owned(),
        times => format!("{times} times so far"),
    }
}

fn write_text(facts: &[(&str, String)], evidence: &[String], closing: &str) -> String {
    let mut lines: Vec<String> = facts
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if !evidence.is_empty() {
        lines.push(String::new());
        lines.push("Evidence, as the host reported it:".to_owned());
        lines.extend(evidence.iter().map(|line| format!("  {line}")));
    }
    lines.push(String::new());
    lines.push(closing.to_owned());
    lines.join("\n")
}

fn write_html(
    subject: &str,
    facts: &[(&str, String)],
    evidence: &[String],
    closing: &str,
) -> String {
    let escape = |text: &str| html_escape::encode_safe(text).into_owned();
    let rows: String = facts
        .iter()
        .map(|(name, value)| {
            format!(
                "<tr><th align=\"left\" valign=\"top\">{name}</th><td>{}</td></tr>",
                escape(value)
            )
        })
        .collect();
    let lines: String = evidence.iter().map(|line| escape(line) + "\n").collect();
    let excerpt = if lines.is_empty() {
        String::new()
    } else {
        format!("<p>Evidence, as the host reported it:</p><pre>{lines}</pre>")
    };
    format!(
        "<!doctype html><html><body><h3>{}</h3><table cellpadding=\"4\">{rows}</table>{excerpt}\
         <p>{closing}</p></body></html>",
        escape(subject)
    )
}

/// Text from outside on one line: nothing that deceives a reader, links broken, cut.
fn plain(text: &str, max_chars: usize) -> String {
    let tame = |c: char| match c {
        c if c.is_control() => ' ',
        c if is_misleading(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut tamed: String = text.chars().take(max_chars).map(tame).collect();
    if text.chars().count() > max_chars {
        tamed.push('…');
    }
    tamed.replace("://", "[:]//")
}

#[cfg(test)]
mod tests {
    use hidps_wire::AgentId;
    use uuid::Uuid;

    use super::*;

    pub(crate) fn alert() -> NotifiedAlert {
        NotifiedAlert {
            id: Uuid::from_u128(9),
            title: "SSH brute force".into(),
            message: "5 failed logins from 203.0.113.9 within 60 s".into(),
            severity: 3,
            risk: 70,
            rule_id: "ssh-brute-force".into(),
            occurrences: 5,
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            evidence: vec!["Failed password for root".into()],
            advice: Some("Block the source".into()),
            is_storm: false,
            agent_id: AgentId::new(Uuid::nil()),
            agent_name: "web-01".into(),
            organization: "Acme".into(),
        }
    }

    #[test]
    fn the_subject_says_how_bad_what_and_where() {
        let mail = write_mail(&Notice::Alert(alert()));

        assert_eq!(
            mail.subject,
            "[HIDPS][HIGH] SSH brute force on web-01 (org Acme)"
        );
    }

    #[test]
    fn the_text_says_what_to_do() {
        let mail = write_mail(&Notice::Alert(alert()));

        for expected in [
            "203.0.113.9",
            "5 times",
            "Block the source",
            "Failed password for root",
        ] {
            assert!(
                mail.text.contains(expected),
                "{expected} is missing in {}",
                mail.text
            );
        }
    }

    #[test]
    fn the_mail_that_ends_a_flood_says_so() {
        let mail = write_mail(&Notice::Alert(NotifiedAlert {
            is_storm: true,
            ..alert()
        }));

        assert!(
            mail.text.contains("Further mails: there were too many"),
            "{}",
            mail.text
        );
    }

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "x\r\nBcc: all@example.com <script>alert(1)</script> \u{202e}\u{2028}http://evil.example";
        let of_alert = Notice::Alert(NotifiedAlert {
            title: hostile.into(),
            agent_name: hostile.into(),
            evidence: vec![hostile.into()],
            ..alert()
        });
        let of_account = Notice::Account(NotifiedAccount {
            title: hostile.into(),
            message: hostile.into(),
            at: Timestamp::UNIX_EPOCH,
            advice: Some(hostile.into()),
        });

        for mail in [write_mail(&of_alert), write_mail(&of_account)] {
            assert!(!mail.subject.contains(is_misleading), "{:?}", mail.subject);
            assert!(!mail.html.contains("<script>"), "{}", mail.html);
            assert!(!mail.text.contains("http://evil"), "{}", mail.text);
        }
    }

    #[test]
    fn a_mail_about_an_account_speaks_of_no_alert_and_no_host() {
        let mail = write_mail(&Notice::Account(NotifiedAccount {
            title: "New sign-in to your account".into(),
            message: "Firefox, from 198.51.100.0/24".into(),
            at: Timestamp::UNIX_EPOCH,
            advice: Some("Change your password".into()),
        }));

        assert_eq!(mail.subject, "[HIDPS] New sign-in to your account");
        assert_eq!(
            mail.text,
            "What: Firefox, from 198.51.100.0/24\nWhen: 1970-01-01 00:00:00 UTC\n\
             What to do now: Change your password\n\n\
             You get this mail because it concerns your own account."
        );
    }
}
