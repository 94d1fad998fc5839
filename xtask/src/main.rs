//! Repository tasks behind cargo x.
fn main() {}
