//! Worlds that many tests use one after the other, because a world costs seconds. One
//! that a test failed on is never used again, and none outlives the last test that runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use hidps_lab::world::{RestFault, World, WorldOptions};
use tokio::runtime::Runtime;

use super::settled::wait_settled;
use crate::turn::take_turn;

/// What worlds live on, beyond the test that starts them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));

/// Worlds that nobody has.
static IDLE: Mutex<Vec<World>> = Mutex::new(Vec::new());

/// Tests that have a world or wait for one.
static USERS: AtomicUsize = AtomicUsize::new(0);

/// Runs a test on a world without faults, with a daemon of these settings that has just been
/// started, and with a host that is as its rows say.
pub(crate) fn with_world(settings: &[(&'static str, &str)], test: impl AsyncFnOnce(&mut World)) {
    let user = User::new();
    RUNTIME.block_on(async {
        let _turn = take_turn().await;
        let kept = idle().pop();
        let mut world = match kept {
            Some(world) => world,
            None => World::start(WorldOptions::default())
                .await
                .unwrap_or_else(|error| panic!("no world: {error:?}")),
        };
        prepare(&mut world, settings).await;
        test(&mut world).await;
        idle().push(world);
        if user.is_last() {
            let unused = std::mem::take(&mut *idle());
            for world in unused {
                world.stop().await.expect("everything ends by itself");
            }
        }
    });
}

fn idle() -> MutexGuard<'static, Vec<World>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what the test before left. Daemon and agent are started anew, because both wait longer to
/// connect the more often they had to.
async fn prepare(world: &mut World, settings: &[(&'static str, &str)]) {
    let faults = world.stack.faults();
    faults.clear();
    faults.set_rest(RestFault::None);
    faults.restore_slots().await;
    world.daemon.configure(settings);
    world.daemon.kill().expect("it can be killed");
    world.agent.kill().expect("it can be killed");
    world.daemon.restart().await.expect("it comes back");
    world.agent.restart(&world.host).expect("it comes back");
    wait_settled(world).await;
}

/// One test that has a world or waits for one.
struct User;

impl User {
    fn new() -> Self {
        USERS.fetch_add(1, Ordering::SeqCst);
        Self
    }

    /// Whether nobody else has a world or waits for one.
    fn is_last(&self) -> bool {
        USERS.load(Ordering::SeqCst) == 1
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if USERS.fetch_sub(1, Ordering::SeqCst) == 1 {
            // There are some left only where this test failed; nobody else would end them.
            let _inside = RUNTIME.enter();
            idle().clear();
        }
    }
}
