//! Chance: agents come back, and changes are made, at times that nobody chose.
//! It never repeats itself on purpose.

/// A number drawn evenly from all.
pub(crate) fn draw() -> u32 {
    // Without randomness an agent waits in full.
    getrandom::u32().unwrap_or(u32::MAX)
}

/// A number drawn evenly from 0 to 1.
pub(crate) fn share() -> f64 {
    f64::from(draw()) / f64::from(u32::MAX)
}
