//! The whole product from outside: real database, real daemon, real agent on a real host.
//! One binary, one world at a time; a test that cannot run here says why and what to install.

mod boundaries;
mod misuse;
mod turn;
