//! What the lines about logins have in common.
//! It decides nothing about whether an attempt is an attack.

use super::address::Endpoint;
use super::reading::{Facts, Reading};

/// How far an attempt got. Each attempt with a credential is one success or one failure; the
/// other lines a program writes about the same attempt say so, and must not be counted again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Somebody got in.
    Success,
    /// A credential was refused, or a right.
    Failure,
    /// Somebody tries; the result has a line of its own.
    Attempt,
    /// Somebody went away or was sent away before a result.
    Aborted,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Attempt => "attempt",
            Self::Aborted => "aborted",
        }
    }
}

/// Somebody tried to become somebody.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Login<'a> {
    /// How far it got.
    pub(super) outcome: Outcome,
    /// `password`, `publickey`, `sudo`, `su` and the like.
    pub(super) method: Option<&'a str>,
    /// Who tries; over the network, as whom.
    pub(super) user: Option<&'a str>,
    /// From where.
    pub(super) source: Option<Endpoint<'a>>,
    /// Whether the host has no such user; none when the line does not tell.
    pub(super) invalid_user: Option<bool>,
}

impl<'a> Login<'a> {
    /// An attempt of which nothing else is known.
    pub(super) const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            method: None,
            user: None,
            source: None,
            invalid_user: None,
        }
    }

    /// The attempt as fields.
    pub(super) fn into_facts(self) -> Facts<'a> {
        let facts = Facts::none()
            .text("outcome", self.outcome.as_str())
            .text_if("method", self.method)
            .text_if("user", self.user)
            .source_if(self.source);
        match self.invalid_user {
            Some(invalid) => facts.flag("invalid_user", invalid),
            None => facts,
        }
    }
}

impl<'a> From<Login<'a>> for Reading<'a> {
    fn from(login: Login<'a>) -> Self {
        Self::Stated(login.into_facts())
    }
}

impl<'a> Facts<'a> {
    /// Where somebody comes from.
    pub(super) fn source(self, source: Endpoint<'a>) -> Self {
        let facts = self.text("src_ip", source.ip);
        match source.port {
            Some(port) => facts.number("src_port", port),
            None => facts,
        }
    }

    /// Where somebody comes from, where the line tells.
    pub(super) fn source_if(self, source: Option<Endpoint<'a>>) -> Self {
        match source {
            Some(source) => self.source(source),
            None => self,
        }
    }
}
