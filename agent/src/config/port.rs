//! A port of a transport protocol, written `22/tcp`.
//! It never names a service: names mean different ports on different hosts.

use std::fmt;
use std::str::FromStr;

/// A transport protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port {
    /// Its protocol.
    pub transport: Transport,
    /// Its number, not 0.
    pub number: u16,
}

impl Port {
    /// Where people reach a host that went wrong.
    pub const SSH: Self = Self {
        transport: Transport::Tcp,
        number: 22,
    };
}

/// Why a text is not a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("is not a port; write a number from 1 to 65535, a slash and tcp or udp, such as 22/tcp")]
pub struct PortError;

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, transport) = text.split_once('/').ok_or(PortError)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(PortError),
        };
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u16 = number.parse().map_err(|_| PortError)?;
        if number == 0 || !plain {
            return Err(PortError);
        }
        Ok(Self { transport, number })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_port_is_read_as_it_is_printed(number in 1_u16.., udp: bool) {
            let transport = if udp { Transport::Udp } else { Transport::Tcp };
            let port = Port { transport, number };

            prop_assert_eq!(port.to_string().parse(), Ok(port));
        }
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for text in [
            "",
            "22",
            "tcp/22",
            "0/tcp",
            "65536/tcp",
            "+22/tcp",
            "22/sctp",
            "22/tcp accept",
        ] {
            assert_eq!(text.parse::<Port>(), Err(PortError), "{text:?}");
        }
    }
}
