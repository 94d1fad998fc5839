//! The HIDPS daemon.
