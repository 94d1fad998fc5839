//! How many files, and so sockets, this process may open: as many as the system lets it.
//! It never lowers a limit, and never takes a connection that would leave none for Supabase.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files kept free of connections from outside: those to Supabase and the mail server, the spool,
/// rule files, and what the runtime itself needs.
const RESERVED: u64 = 128;

/// Below this many connections somebody should know before the fleet grows into it.
const FEW: usize = 4_096;

/// Raises the limit of open files as far as it may be, says so in the log, and gives how many
/// connections fit into it, at most `most`.
pub(super) fn make_room(most: usize) -> usize {
    let before = getrlimit(Resource::Nofile);
    let now = match raise(before) {
        Ok(now) => now,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            before.current
        }
    };
    let (was, now) = (before.current.unwrap_or(u64::MAX), now.unwrap_or(u64::MAX));
    let connections = connections_within(now, most);
    if was == now {
        tracing::info!(open_files = now, connections, "the limit of open files");
    } else {
        tracing::info!(
            was,
            open_files = now,
            connections,
            "raised the limit of open files"
        );
    }
    if connections < FEW {
        tracing::warn!(
            open_files = now,
            connections,
            "few connections fit into the limit of open files; raise it, as by LimitNOFILE= of a \
             systemd unit"
        );
    }
    connections
}

/// Raises the soft limit to the hard one; gives what it is then.
fn raise(before: Rlimit) -> Result<Option<u64>, Errno> {
    if before.current == before.maximum {
        return Ok(before.current);
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: before.maximum,
            maximum: before.maximum,
        },
    )?;
    Ok(before.maximum)
}

/// How many connections fit beside what is reserved; one at least, or nobody could look for the
/// reason.
fn connections_within(open_files: u64, most: usize) -> usize {
    let room = open_files.saturating_sub(RESERVED).max(1);
    usize::try_from(room).unwrap_or(usize::MAX).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_everything_else() {
        let check = |open_files, expected| {
            assert_eq!(connections_within(open_files, 100_000), expected);
        };

        check(1_024, 896);
        check(20_000, 19_872);
        check(u64::MAX, 100_000);
        check(RESERVED, 1);
        check(0, 1);
    }
}
