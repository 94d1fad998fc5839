//! The mail catcher: a real SMTP server in a Node process of ours, and what it caught.
//! Never sends a mail.

use std::path::Path;

use axum::http::Method;
use serde::Deserialize;

use crate::error::StackError;
use crate::http;
use crate::npm;
use crate::owned_process::OwnedProcess;

/// What the Node process runs.
const SCRIPT: &str = include_str!("../npm/mail.mjs");

/// A caught mail, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// Sender of the envelope.
    pub from: String,
    /// Recipients of the envelope.
    pub to: Vec<String>,
    /// Subject, decoded.
    pub subject: String,
    /// Plain text part, decoded.
    pub text: String,
    /// HTML part, decoded.
    pub html: Option<String>,
    /// All headers in their order, names in lower case, values as sent.
    pub headers: Vec<(String, String)>,
}

impl Mail {
    /// Gives the first header of a name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The running catcher.
#[derive(Debug)]
pub(crate) struct MailCatcher {
    process: OwnedProcess,
    ports: Ports,
}

#[derive(Debug, Deserialize)]
struct Ports {
    smtp: u16,
    http: u16,
}

impl MailCatcher {
    /// Starts the catcher and waits until it listens.
    pub(crate) async fn start(
        packages: &Path,
        logs: &Path,
        smtp_port: u16,
    ) -> Result<Self, StackError> {
        let mut command = npm::script(packages, SCRIPT);
        command.env("LOCAL_SUPABASE_SMTP_PORT", smtp_port.to_string());
        let mut process = OwnedProcess::start("mail", command, logs)?;
        let ports = process.read_greeting().await?;
        Ok(Self { process, ports })
    }

    /// Gives the port of the SMTP server.
    pub(crate) fn smtp_port(&self) -> u16 {
        self.ports.smtp
    }

    /// Gives the mails caught so far, oldest first.
    pub(crate) async fn list_mails(&self) -> Result<Vec<Mail>, StackError> {
        let address = format!("http://127.0.0.1:{}/mails", self.ports.http);
        let (_, mails) = http::ask("list mails", Method::GET, &address, None, None).await?;
        serde_json::from_value(mails).map_err(|error| StackError::Http {
            operation: "list mails".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Ends the catcher.
    pub(crate) async fn stop(self) -> Result<(), StackError> {
        self.process.stop().await
    }
}
