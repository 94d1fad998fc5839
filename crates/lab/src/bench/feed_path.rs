//! Which of the feed's paths work, so that each can be measured alone.
//! It never makes the daemon notice: a silenced path stays joined and carries everything else.

use hidps_local_supabase::{Stack, StackError};

/// Lets no row of the table through, and still has the table, so that a join is not refused.
const SILENCE_CHANGES: &str = "alter publication supabase_realtime drop table desired_generations; \
     alter publication supabase_realtime add table desired_generations where (agent_id is null)";

const RESTORE_CHANGES: &str = "alter publication supabase_realtime drop table desired_generations; \
     alter publication supabase_realtime add table desired_generations";

/// The hint of a changed generation is not sent; other broadcasts are.
const SILENCE_BROADCASTS: &str = "alter function private.hint_daemon(text, jsonb) rename to hint_daemon_loudly; \
     create function private.hint_daemon(event text, payload jsonb) returns void \
     language plpgsql volatile security definer set search_path = '' as $$ begin \
     if event <> 'generation' then perform private.hint_daemon_loudly(event, payload); end if; \
     end $$";

const RESTORE_BROADCASTS: &str = "drop function private.hint_daemon(text, jsonb); \
     alter function private.hint_daemon_loudly(text, jsonb) rename to hint_daemon";

/// What works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedPath {
    /// Broadcast alone.
    Broadcast,
    /// `postgres_changes` alone.
    Changes,
    /// Nothing: Realtime refuses every connection.
    Dead,
}

impl FeedPath {
    /// Its name among the figures.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast alone",
            Self::Changes => "postgres_changes alone",
            Self::Dead => "Realtime dead",
        }
    }

    /// Leaves only this working.
    pub(super) async fn isolate(self, stack: &Stack) -> Result<(), StackError> {
        match self {
            Self::Broadcast => drop(stack.sql(SILENCE_CHANGES).await?),
            Self::Changes => drop(stack.sql(SILENCE_BROADCASTS).await?),
            Self::Dead => {
                stack.faults().refuse_connects(Some(503));
                stack.faults().drop_sockets();
            }
        }
        Ok(())
    }

    /// Makes everything work again.
    pub(super) async fn restore(self, stack: &Stack) -> Result<(), StackError> {
        match self {
            Self::Broadcast => drop(stack.sql(RESTORE_CHANGES).await?),
            Self::Changes => drop(stack.sql(RESTORE_BROADCASTS).await?),
            Self::Dead => stack.faults().refuse_connects(None),
        }
        Ok(())
    }
}
