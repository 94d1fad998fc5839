//! One world at a time: each has processes of its own, and two at once would only measure each
//! other's waiting.

use hidps_lab::world::{World, WorldOptions};
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// A running world, and the turn to have one.
pub(crate) struct Turn {
    pub(crate) world: World,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for this test's turn to start processes of its own.
pub(crate) async fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
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
