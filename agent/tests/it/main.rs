//! The agent as a process: real kernel, real sockets, and a daemon that follows a script.
//! Nothing here reaches into the agent; what it does is asserted from outside.

#[cfg(test)]
mod firewall;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod link;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod scripted_daemon;
