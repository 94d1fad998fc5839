//! The agent as a process: real kernel, real sockets, and a daemon that follows a script.
//! Nothing here reaches into the agent; what it does is asserted from outside.

#[cfg(test)]
mod away;
#[cfg(test)]
mod commit_confirm;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod firewall;
#[cfg(test)]
mod firewall_rules;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile_daemon;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod link;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod looking;
#[cfg(test)]
mod observations;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod scripted_daemon;
#[cfg(test)]
mod unit;
#[cfg(test)]
mod watch_limits;
#[cfg(test)]
mod world;
