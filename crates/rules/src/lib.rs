//! A Sigma rule engine: events in, matches out, no clock and no I/O.
