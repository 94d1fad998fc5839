//! The wish that the agent ends, known to every task.
//! It is made once and never taken back.

use tokio::sync::watch;

/// A task's view of the wish.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

/// Makes the wish.
#[derive(Debug)]
pub struct ShutdownSwitch {
    switch: watch::Sender<bool>,
}

/// A wish not yet made, from both sides.
#[must_use]
pub fn shutdown() -> (ShutdownSwitch, Shutdown) {
    let (switch, requested) = watch::channel(false);
    (ShutdownSwitch { switch }, Shutdown { requested })
}

impl ShutdownSwitch {
    /// Makes the wish.
    pub fn request(&self) {
        self.switch.send_replace(true);
    }
}

impl Shutdown {
    /// Waits for the wish; nothing is lost when the wait is abandoned.
    pub async fn requested(&mut self) {
        // Without a switch there is nobody left to run for.
        self.requested.wait_for(|requested| *requested).await.ok();
    }
}
