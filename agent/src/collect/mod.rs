//! Sources of what a host does: each reads one thing and pushes it on.
//! They parse text they are given, so that tests need neither root nor a running host.

pub mod audit;
pub mod cadence;
pub mod facts;
mod follower;
pub mod fuzzing;
pub mod journal;
pub mod kernel_log;
pub mod line_sink;
mod lines;
pub mod log_file;
pub mod log_sources;
mod pacer;
pub mod positions;
pub mod process;
mod reader;
pub mod readings;
mod rotated;
pub mod sampling;
pub mod snapshot;
pub mod sockets;
pub mod source_board;
pub mod source_losses;
pub mod unread;
pub mod usage;
pub mod wishes;
