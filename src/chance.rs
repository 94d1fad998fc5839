//! The little randomness that keeps peers and daemons out of step.
//! It never makes a secret; keys and tokens come from elsewhere.

use uuid::Uuid;

/// A number from 0 to 1, different each time.
#[must_use]
pub fn draw_share() -> f64 {
    // A random UUID's first bytes are all random.
    let bytes = Uuid::new_v4().into_bytes();
    let drawn = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    f64::from(drawn) / f64::from(u32::MAX)
}
