//! Address descriptors (BOLT 7): where a node can be reached.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::codec::{Reader, Writer};
use crate::error::{Code, Error, refuse};

/// An address of a known kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Kind 1.
    Ipv4(SocketAddrV4),
    /// Kind 2. Flow and scope are zero.
    Ipv6(SocketAddrV6),
    /// Kind 3, deprecated: a Tor v2 service, not to be used.
    OnionV2([u8; 12]),
    /// Kind 4: a Tor v3 service.
    OnionV3 {
        /// Key, checksum and version, as they stand in the name.
        service: [u8; 35],
        /// The port.
        port: u16,
    },
    /// Kind 5: a name in the DNS, not empty, of printable ASCII.
    Hostname {
        /// The name.
        name: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// The addresses in a list, up to the first of an unknown kind, whose length nobody here knows.
    ///
    /// # Errors
    /// [`Code::Truncated`] if one of a known kind does not fit, [`Code::InvalidField`] for a host name that is none.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        let mut reader = Reader::new(bytes);
        let mut addresses = Vec::new();
        while reader.remaining() > 0 {
            let Some(address) = Self::parse(&mut reader)? else { break };
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        Ok(Some(match reader.read::<u8>()? {
            1 => Self::Ipv4(SocketAddrV4::new(Ipv4Addr::from(reader.array::<4>()?), reader.read()?)),
            2 => Self::Ipv6(SocketAddrV6::new(Ipv6Addr::from(reader.array::<16>()?), reader.read()?, 0, 0)),
            3 => Self::OnionV2(reader.array()?),
            4 => Self::OnionV3 { service: reader.array()?, port: reader.read()? },
            5 => {
                let length: u8 = reader.read()?;
                let name = reader.take(length.into())?;
                let name = std::str::from_utf8(name).ok().filter(|name| is_hostname(name));
                let Some(name) = name else { return refuse(Code::InvalidField, "not a host name") };
                Self::Hostname { name: name.to_owned(), port: reader.read()? }
            }
            _ => return Ok(None),
        }))
    }

    /// Writes the descriptor.
    ///
    /// # Errors
    /// [`Code::Unencodable`] for a host name that is none or has more than 255 bytes.
    pub fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        match self {
            Self::Ipv4(address) => writer.write(&1_u8).raw(&address.ip().octets()).write(&address.port()),
            Self::Ipv6(address) => writer.write(&2_u8).raw(&address.ip().octets()).write(&address.port()),
            Self::OnionV2(bytes) => writer.write(&3_u8).raw(bytes),
            Self::OnionV3 { service, port } => writer.write(&4_u8).raw(service).write(port),
            Self::Hostname { name, port } => match u8::try_from(name.len()) {
                Ok(length) if is_hostname(name) => writer.write(&5_u8).write(&length).raw(name.as_bytes()).write(port),
                _ => return refuse(Code::Unencodable, "not a host name"),
            },
        };
        Ok(())
    }
}

fn is_hostname(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(addresses: &[Address]) -> Vec<u8> {
        let mut writer = Writer::new();
        for address in addresses {
            address.write(&mut writer).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn every_kind_comes_back() {
        let addresses = [
            Address::Ipv4("1.2.3.4:9735".parse().unwrap()),
            Address::Ipv6("[2001:db8::1]:9735".parse().unwrap()),
            Address::OnionV2([3; 12]),
            Address::OnionV3 { service: [4; 35], port: 9735 },
            Address::Hostname { name: "node.example".to_owned(), port: 9735 },
        ];
        let bytes = written(&addresses);
        assert_eq!(bytes.len(), 7 + 19 + 13 + 38 + 16);
        assert_eq!(Address::parse_all(&bytes).unwrap(), addresses);
        // An unknown kind ends the list, a cut in a known one ends the reading.
        assert_eq!(Address::parse_all(&[&bytes[..], &[6, 1, 2]].concat()).unwrap(), addresses);
        assert_eq!(Address::parse_all(&bytes[..bytes.len() - 1]).unwrap_err().code(), Code::Truncated);
    }

    #[test]
    fn a_host_name_is_printable() {
        for bad in [&[5, 0, 0, 1][..], &[5, 2, b'a', 10, 0, 1], &[5, 2, 0xc3, 0xbc, 0, 1], &[5, 1, b' ', 0, 1]] {
            assert_eq!(Address::parse_all(bad).unwrap_err().code(), Code::InvalidField);
        }
        for name in [String::new(), "a b".to_owned(), "x".repeat(256)] {
            let error = Address::Hostname { name, port: 1 }.write(&mut Writer::new()).unwrap_err();
            assert_eq!(error.code(), Code::Unencodable);
        }
    }

    proptest! {
        #[test]
        fn any_list_that_is_read_is_written_as_it_came(bytes in proptest::collection::vec(0_u8..7, 0..80)) {
            if let Ok(addresses) = Address::parse_all(&bytes) {
                prop_assert!(bytes.starts_with(&written(&addresses)));
            }
        }
    }
}
