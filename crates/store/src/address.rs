//! Which addresses a user's URL may lead to: public ones, and the networks that the operator opened. The tables are the
//! IANA special-purpose registries of IPv4 and IPv6, plus the one public address that a cloud uses for its metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use contract::Complaint;
use ipnet::IpNet;

/// What is not public in IPv4: network, bits.
const CLOSED_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),          // this network
    ([10, 0, 0, 0], 8),         // private
    ([100, 64, 0, 0], 10),      // carrier-grade NAT; one cloud's metadata at 100.100.100.200
    ([127, 0, 0, 0], 8),        // loopback
    ([168, 63, 129, 16], 32),   // metadata of Azure, at a public address
    ([169, 254, 0, 0], 16),     // link-local; metadata of most clouds
    ([172, 16, 0, 0], 12),      // private
    ([192, 0, 0, 0], 24),       // protocol assignments; one cloud's metadata at 192.0.0.192
    ([192, 0, 2, 0], 24),       // documentation
    ([192, 88, 99, 0], 24),     // 6to4 relays
    ([192, 168, 0, 0], 16),     // private
    ([198, 18, 0, 0], 15),      // benchmarks
    ([198, 51, 100, 0], 24),    // documentation
    ([203, 0, 113, 0], 24),     // documentation
    ([224, 0, 0, 0], 4),        // multicast
    ([240, 0, 0, 0], 4),        // reserved
    ([255, 255, 255, 255], 32), // broadcast
];

/// What is not public within 2000::/3, outside of which nothing is.
const CLOSED_V6: [([u16; 8], u32); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo, benchmarks, ORCHID
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4: an IPv4 address in disguise
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    opened: Vec<IpNet>,
}

impl Addresses {
    pub(crate) fn open(networks: &[String]) -> Result<Self, Complaint> {
        let opened = networks.iter().map(|text| {
            let parsed =
                text.trim().parse::<IpNet>().or_else(|_| text.trim().parse::<IpAddr>().map(IpNet::from));
            parsed.map_err(|_| {
                let message = format!("`{}` in the allowed networks is no network", text.escape_debug());
                Complaint::new("bad_network", message, "write it like 10.1.0.0/16, 192.168.1.7 or fd00::/8")
            })
        });
        Ok(Self { opened: opened.collect::<Result<_, _>>()? })
    }

    /// May be reached, on the usual ports.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        self.opens(address) || is_public(plain(address))
    }

    /// Lies in a network that the operator opened: any port.
    pub(crate) fn opens(&self, address: IpAddr) -> bool {
        let plain = plain(address);
        self.opened.iter().any(|network| network.contains(&address) || network.contains(&plain))
    }

    pub(crate) fn opens_any(&self) -> bool {
        !self.opened.is_empty()
    }
}

/// An IPv4 address that is only written as IPv6: mapped (::ffff:0:0/96) or behind NAT64 (64:ff9b::/96).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let bits = v4.to_bits();
            !CLOSED_V4.iter().any(|(net, len)| (bits ^ u32::from_be_bytes(*net)) >> (32 - len) == 0)
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            let closed = |(net, len): &([u16; 8], u32)| {
                let net = Ipv6Addr::from(*net).to_bits();
                (bits ^ net) >> (128 - len) == 0
            };
            bits >> 125 == 1 && !CLOSED_V6.iter().any(closed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_admitted() {
        let none = Addresses::default();
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2a00:1450::1",
            "3ffe::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ];
        for address in public {
            assert!(none.admit(address.parse().unwrap()), "{address}");
            assert!(!none.opens(address.parse().unwrap()), "{address}");
        }
        let closed = [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::ffff:0:8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ];
        for address in closed {
            assert!(!none.admit(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_operator_opens_networks() {
        let opened = ["10.1.0.0/16", "127.0.0.1", "fd00::/8"].map(str::to_owned);
        let addresses = Addresses::open(&opened).unwrap();
        for address in ["10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1"] {
            let address = address.parse().unwrap();
            assert!(addresses.admit(address) && addresses.opens(address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2", "::1", "fe80::1", "2002:a01:203::"] {
            assert!(!addresses.admit(address.parse().unwrap()), "{address}");
        }
        assert!(addresses.admit("8.8.8.8".parse().unwrap()));
        for bad in ["", "10.1", "10.0.0.0/33", "example.com"] {
            assert_eq!(Addresses::open(&[bad.to_owned()]).unwrap_err().code, "bad_network", "{bad}");
        }
    }
}
