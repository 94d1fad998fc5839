//! What the lines about logins have in common.
//! It decides nothing about whether an attempt is an attack.

use std::net::IpAddr;

use hidps_wire::{FieldValue, Fields};

/// What came of reading a message.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Reading<'a> {
    /// Somebody tried to become somebody.
    Login(Box<Login<'a>>),
    /// It can be read in two ways, one of them forged.
    Ambiguous,
    /// It says something else.
    Other,
}

impl<'a> From<Option<Login<'a>>> for Reading<'a> {
    fn from(login: Option<Login<'a>>) -> Self {
        login.map_or(Self::Other, |login| Self::Login(Box::new(login)))
    }
}

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
    pub(super) outcome: Outcome,
    /// `password`, `publickey`, `sudo`, `su` and the like.
    pub(super) method: Option<&'a str>,
    /// Who tries; over the network, as whom.
    pub(super) user: Option<&'a str>,
    /// From where.
    pub(super) source: Option<Endpoint>,
    /// Whether the host has no such user; none when the line does not tell.
    pub(super) invalid_user: Option<bool>,
    /// What else the program says, under its own names.
    pub(super) more: Vec<(&'static str, &'a str)>,
}

impl<'a> Login<'a> {
    pub(super) const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            method: None,
            user: None,
            source: None,
            invalid_user: None,
            more: Vec::new(),
        }
    }

    pub(super) fn push_fields(self, fields: &mut Fields<'a>) {
        fields.push("outcome", self.outcome.as_str());
        let texts = [("method", self.method), ("user", self.user)];
        for (name, value) in texts {
            if let Some(value) = value {
                fields.push(name, value);
            }
        }
        if let Some(source) = self.source {
            fields.push("src_ip", source.ip.to_string());
            if let Some(port) = source.port {
                fields.push("src_port", i64::from(port));
            }
        }
        if let Some(invalid) = self.invalid_user {
            fields.push("invalid_user", FieldValue::Bool(invalid));
        }
        for (name, value) in self.more {
            fields.push(name, value);
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    pub(super) ip: IpAddr,
    pub(super) port: Option<u16>,
}

/// An address, without the zone that link-local ones carry.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse().ok()
}
