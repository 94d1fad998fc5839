//! Records of the kernel's audit into events: taken apart, joined by their serial, decoded.
//! It keeps the names that auditd writes, as rules know them, and makes up nothing.
//!
//! Something that happened is several records with one serial: the call, its arguments, each path.
//! Rules look at one record at a time (`type: PATH`), so each becomes an event of its own; what only
//! explains the others (`CWD`, `PROCTITLE`) becomes a part of them, and so does who did it.

mod address;
mod decode;
mod event;
mod execve;
mod join;
mod kind;
mod path;
mod record;
mod syscall;
#[cfg(test)]
mod tests;
mod words;

pub use event::Naming;
pub use join::{AuditEvent, Joiner};
pub use record::{AuditId, AuditRecord, find_record, parse_line, parse_message, read_body};
