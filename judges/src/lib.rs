//! The rule engine's judges: another engine run in process, and cases that an oracle has answered.
//! It never decides who is right; the specification does, and the table of differences says how.

pub mod case;
pub mod differences;
pub mod ours;
pub mod rsigma;
pub mod verdict;
