//! Alert mail over SMTP, at least once with a stable Message-ID.
//! It never builds a header from text that was not sanitized, and never logs an address.

use std::time::Duration;

use futures_util::future::BoxFuture;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;

use crate::config::Mail;
use crate::model::{DeliveryOutcome, Notice, Notification};
use crate::notify::message::write_mail;
use crate::ports::Mailer;

/// Longest wait for the mail server.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// First pause after a failed delivery, in seconds, doubled each time.
const FIRST_PAUSE_SECS: u32 = 5;

/// Longest pause between deliveries, in seconds.
const LONGEST_PAUSE_SECS: u32 = 15 * 60;

/// Deliveries after which a row is given up: two days of an unreachable server.
const MAX_ATTEMPTS: i32 = 200;

/// Answers of a mail server that speak of the recipient: unknown, moved, not allowed.
const RECIPIENT_REFUSED: [u16; 3] = [550, 551, 553];

/// Refusals after which the recipient is given up; one may be a server's bad moment.
const CERTAIN_AFTER: i32 = 3;

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The address of the server is not usable.
    #[error("the mail server's address is not usable")]
    Server(#[source] smtp::Error),
    /// The sender is not an address.
    #[error("the sender is not a mail address")]
    Sender(#[source] lettre::address::AddressError),
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    /// Prepares the transport; nothing is connected yet.
    ///
    /// # Errors
    /// When the server's address or the sender cannot be used.
    pub fn new(mail: &Mail) -> Result<Self, MailerError> {
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(mail.smtp_url.expose_secret())
                .map_err(MailerError::Server)?
                .timeout(Some(ANSWER_WITHIN))
                .build();
        let from = mail.from.parse().map_err(MailerError::Sender)?;
        Ok(Self { transport, from })
    }

    fn compose(&self, notification: &Notification) -> Result<Message, lettre::error::Error> {
        let mail = write_mail(&notification.notice);
        let to: Mailbox = notification
            .recipient
            .parse()
            .map_err(|_| lettre::error::Error::MissingTo)?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.subject)
            .message_id(Some(notification.message_id.clone()))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"));
        let message = match &notification.notice {
            Notice::Alert(alert) => {
                // Every mail of an alert answers the same unsent root: that keeps them in one thread
                // even where a relay rewrites Message-ID.
                let root = format!("<alert.{}@hidps>", alert.id);
                message
                    .in_reply_to(root.clone())
                    .references(root)
                    .raw_header(header("X-HIDPS-Severity", &alert.severity.to_string()))
                    .raw_header(header("X-HIDPS-Agent", &alert.agent_id.to_string()))
            }
            Notice::Account(_) => message,
        };
        message.multipart(MultiPart::alternative_plain_html(mail.text, mail.html))
    }
}

impl Mailer for SmtpMailer {
    fn deliver(&self, notification: Notification) -> BoxFuture<'_, DeliveryOutcome> {
        Box::pin(async move {
            let message = match self.compose(&notification) {
                Ok(message) => message,
                Err(error) => {
                    return DeliveryOutcome::Failed {
                        error: error.to_string(),
                    };
                }
            };
            match self.transport.send(message).await {
                Ok(_) => DeliveryOutcome::Sent,
                Err(error) => judge(&error, notification.attempts),
            }
        })
    }
}

/// A recipient refused several times ends the row. Everything else is tried again, ever more
/// slowly: a wrong password or a refused sender is the operator's to mend, and no alert's fault.
fn judge(error: &smtp::Error, attempts: i32) -> DeliveryOutcome {
    let text = error.to_string();
    let code = error.status().map(u16::from);
    let is_refused = code.is_some_and(|code| RECIPIENT_REFUSED.contains(&code));
    if (is_refused && attempts >= CERTAIN_AFTER) || attempts >= MAX_ATTEMPTS {
        return DeliveryOutcome::Failed { error: text };
    }
    let doublings = u32::try_from(attempts.clamp(1, 10) - 1).unwrap_or(0);
    let after_secs = (FIRST_PAUSE_SECS << doublings).min(LONGEST_PAUSE_SECS);
    DeliveryOutcome::Retry {
        error: text,
        after_secs,
    }
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}
