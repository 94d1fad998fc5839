//! The stack as a whole, seen from outside.
//! Never reaches into the crate: whatever is asserted here, a client could see.

mod changes;
mod faults;
mod lifecycle;
mod official;
mod project;
mod shared;
mod signing_keys;
mod subscription;
