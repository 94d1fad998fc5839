//! Ports and connections as events, under the names that rules use.
//! It reads nothing: what it says is in its arguments.

use hidps_wire::{EventKind, FieldValue, Fields, LogEvent};

use super::difference::{Flow, Port};
use crate::clock;

/// The service of these events.
const SERVICE: &str = "network";

/// Who holds a socket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Owner {
    pub(super) pid: Option<u32>,
    pub(super) image: Option<String>,
    pub(super) user: Option<String>,
}

impl Owner {
    /// The program's name without its directory.
    fn process(&self) -> Option<&str> {
        self.image.as_deref()?.rsplit('/').next()
    }

    fn push_into(&self, fields: &mut Fields<'static>) {
        let texts = [("Image", &self.image), ("User", &self.user)];
        for (name, value) in texts {
            if let Some(value) = value {
                fields.push(name, FieldValue::from(value.clone()));
            }
        }
        if let Some(pid) = self.pid {
            fields.push("ProcessId", i64::from(pid));
        }
    }
}

/// A port that was opened or closed.
pub(super) fn port_event(port: &Port, is_open: bool, owner: &Owner) -> LogEvent<'static> {
    let mut fields = Fields::with_capacity(8);
    let name = if is_open {
        "listening_port_opened"
    } else {
        "listening_port_closed"
    };
    fields.push("event", name);
    fields.push("port", i64::from(port.number));
    fields.push("proto", port.transport.as_str());
    fields.push("address", port.address.to_string());
    if let Some(process) = owner.process() {
        fields.push("process", process.to_owned());
    }
    owner.push_into(&mut fields);
    let who = owner.process().unwrap_or("an unknown program");
    let does = if is_open {
        "listens"
    } else {
        "listens no longer"
    };
    let transport = port.transport.as_str();
    let place = std::net::SocketAddr::new(port.address, port.number);
    event(format!("{who} {does} on {transport} {place}"), fields)
}

/// A connection that began; its source is whoever began it.
pub(super) fn flow_event(flow: &Flow, is_initiated: bool, owner: &Owner) -> LogEvent<'static> {
    let (source, destination) = if is_initiated {
        (flow.local, flow.remote)
    } else {
        (flow.remote, flow.local)
    };
    let mut fields = Fields::with_capacity(10);
    fields.push("Initiated", FieldValue::Bool(is_initiated));
    fields.push("Protocol", flow.transport.as_str());
    fields.push("SourceIp", source.ip().to_string());
    fields.push("SourcePort", i64::from(source.port()));
    fields.push("DestinationIp", destination.ip().to_string());
    fields.push("DestinationPort", i64::from(destination.port()));
    owner.push_into(&mut fields);
    let who = owner.process().unwrap_or("an unknown program");
    let transport = flow.transport.as_str();
    let message = if is_initiated {
        format!("{who} is connected to {transport} {destination}")
    } else {
        format!("{who} on {transport} {destination} is connected from {source}")
    };
    event(message, fields)
}

fn event(message: String, fields: Fields<'static>) -> LogEvent<'static> {
    LogEvent {
        timestamp: clock::now().into(),
        kind: EventKind::Process,
        service: SERVICE.into(),
        message: message.into(),
        fields,
    }
}
