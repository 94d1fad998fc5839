//! The HIDPS agent: streams a host's log events and applies its desired state.
