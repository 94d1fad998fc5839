//! Events for whoever looks at rules from outside the daemon, on the way that agents' events take.
//! It never parses a frame; the caller brings an event.

use hidps_rules::Event;
use hidps_wire::LogEvent;

use crate::detection::event::RuleView;

/// Hands out an event as rules see it.
pub fn with_rule_event(event: &LogEvent<'_>, see: impl FnOnce(&Event<'_>)) {
    see(&RuleView::of(event).event());
}
