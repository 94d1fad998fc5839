//! A Supabase-compatible subset on one machine, for development and tests: Postgres, REST, Auth, Realtime, mail.
//! Never used in production and never knows anything of the daemon that is tested with it.
//!
//! Postgres is the machine's own, REST and Auth are the official `@supabase/lite`, the migrations are applied
//! unchanged. Only Realtime is written here, and it reads the same write-ahead log the original reads.

mod database;
mod error;
mod faults;
mod gateway;
mod http;
mod keys;
mod lite;
mod mail;
mod npm;
mod options;
mod owned_process;
mod postgres;
mod realtime;
mod signing;
mod stack;

pub use database::Row;
pub use error::StackError;
pub use faults::{Faults, Lane, RefusalDelays, RestFault, SystemOk};
pub use mail::Mail;
pub use options::{Options, Pace, Person};
pub use realtime::ChangeError;
#[doc(hidden)]
pub use realtime::fuzzing;
pub use stack::Stack;
