//! A second opinion on the URL guard, written without its tables: what it lets through must not be an address that the
//! standard library or C's `inet_aton` takes for one of this machine or its network. The fuzz target asks it too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use store::{Store, StoreConfig};

pub fn store(folder: &std::path::Path) -> Store {
    let opening = Store::open(StoreConfig { folder: folder.to_owned(), ..StoreConfig::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(opening).expect("a store with defaults opens")
}

pub fn check(store: &Store, text: &str) {
    if store.allow_url(text).is_err() || text.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("data:"))
    {
        return;
    }
    let url = url::Url::parse(text).expect("what is allowed is a URL");
    assert!(matches!(url.scheme(), "http" | "https"), "{text:?}");
    assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
    assert!(matches!(url.port_or_known_default(), Some(80 | 443)), "{text:?}");
    match url.host().expect("what is allowed has a host") {
        url::Host::Ipv4(v4) => assert!(!inner(v4.into()), "{text:?}"),
        url::Host::Ipv6(v6) => assert!(!inner(v6.into()), "{text:?}"),
        url::Host::Domain(name) => {
            assert_ne!(name.trim_end_matches('.').rsplit('.').next(), Some("localhost"), "{text:?}");
            assert!(aton(name).is_none_or(|v4| !inner(v4.into())), "{text:?}");
        }
    }
    let raw = text.split_once("://").map_or("", |(_, rest)| rest);
    let raw = raw.split(['/', '?', '#']).next().unwrap_or_default();
    let raw = raw.split_once(':').map_or(raw, |(host, _)| host);
    assert!(aton(raw).is_none_or(|v4| !inner(v4.into())), "{text:?}");
}

fn inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            let [a, b, .., y, z] = v6.segments();
            let tail = Ipv4Addr::from(u32::from(y) << 16 | u32::from(z));
            let carries = v6.to_ipv4().is_some() || (a, b) == (0x64, 0xff9b);
            let closed = v6.is_loopback()
                || v6 == Ipv6Addr::UNSPECIFIED
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast();
            closed || (a, b) == (0x2001, 0) || a == 0x2002 || (carries && inner(tail.into()))
        }
    }
}

/// Decimal, octal and hexadecimal numbers, one to four, the last of which fills what is left.
fn aton(host: &str) -> Option<Ipv4Addr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let numbers = host.split('.').map(|part| match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    });
    let numbers = numbers.collect::<Option<Vec<u32>>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|n| *n > 255) {
        return None;
    }
    let high = first.iter().enumerate().fold(0, |sum, (at, n)| sum | n << (24 - 8 * at));
    Some(Ipv4Addr::from(high | last))
}
