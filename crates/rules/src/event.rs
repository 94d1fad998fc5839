//! What the engine looks at: one event, borrowed from whoever read it.
//! It never owns text and never knows where an event came from.

/// One thing that happened on a host.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Which rules apply to it.
    pub logsource: LogSource<'a>,
    /// The original line; keyword rules search it, and rules see it as field `message` unless a
    /// field of that name exists.
    pub message: &'a str,
    /// Named values; names are case-sensitive, and a name may occur more than once.
    pub fields: &'a [(&'a str, Value<'a>)],
}

/// Sigma's three coordinates of a log, in lower case; a part that does not apply is absent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LogSource<'a> {
    /// The class of events, such as `file_event`.
    pub category: Option<&'a str>,
    /// The system that made it, such as `linux`.
    pub product: Option<&'a str>,
    /// The program that made it, such as `sshd`.
    pub service: Option<&'a str>,
    /// Further services it answers to, such as `auth` for every line about logins.
    pub also: &'a [&'a str],
}

/// The value of a named field.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    /// A string.
    Str(&'a str),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

/// Whose correlation state an event belongs to: one agent, in the daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Scope(pub u128);
