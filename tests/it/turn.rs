//! Three at a time: what a test starts mostly waits, so that two processors have room for three, and
//! more would only measure the others' waiting.

use hidps_lab::world::{World, WorldOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

static TURNS: Semaphore = Semaphore::const_new(3);

/// A running world that no other test uses, and the turn to have one.
pub(crate) struct Turn {
    pub(crate) world: World,
    _turn: SemaphorePermit<'static>,
}

/// Waits for this test's turn to start processes of its own.
pub(crate) async fn take_turn() -> SemaphorePermit<'static> {
    TURNS.acquire().await.expect("it is never closed")
}

/// Starts a world when it is this test's turn.
pub(crate) async fn start_world() -> Turn {
    let turn = take_turn().await;
    let world = World::start(WorldOptions::default()).await;
    Turn {
        world: world.unwrap_or_else(|error| panic!("no world: {error:?}")),
        _turn: turn,
    }
}
