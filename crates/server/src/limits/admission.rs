//! Places under the connection limits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Server,
    Address,
}

/// The address that limits count by: an IPv4 address, or an IPv6 network of 64 bits, which is the least that a customer of a
/// provider has, and as good as one address to whoever has it.
pub(crate) fn address_block(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Limits {
    max: usize,
    max_per_ip: usize,
    open: AtomicUsize,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

impl Limits {
    /// `max_per_ip` 0: no limit.
    pub(crate) fn new(max: usize, max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, open: AtomicUsize::new(0), by_ip: Mutex::default() })
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place, held until the admission is dropped. A Unix socket's peer has no address.
    pub(crate) fn admit(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<Admission, Full> {
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1))
            .map_err(|_| Full::Server)?;
        // Takes care of the count above if the address is refused.
        let mut admission = Admission { limits: self.clone(), ip: None };
        if let Some(ip) = ip.filter(|_| self.max_per_ip > 0) {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let ip = address_block(ip);
            let count = by_ip.entry(ip).or_default();
            if *count >= self.max_per_ip {
                drop(by_ip);
                return Err(Full::Address);
            }
            *count += 1;
            admission.ip = Some(ip);
        }
        Ok(admission)
    }
}

/// A place of one connection.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Arc<Limits>,
    ip: Option<IpAddr>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
        let Some(ip) = self.ip else { return };
        let mut by_ip = self.limits.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)));

    #[test]
    fn places_come_back() {
        let limits = Limits::new(2, 1);
        let a = limits.admit(A).unwrap();
        assert_eq!(limits.admit(A).unwrap_err(), Full::Address);
        let b = limits.admit(B).unwrap();
        assert_eq!(limits.admit(None).unwrap_err(), Full::Server);
        drop(a);
        assert_eq!(limits.open(), 1);
        assert!(limits.admit(A).is_ok());
        drop(b);
        assert_eq!(limits.open(), 0);
        assert!(limits.by_ip.lock().unwrap().is_empty());
    }

    #[test]
    fn a_mapped_address_is_the_same_address() {
        let limits = Limits::new(9, 1);
        let _a = limits.admit(A).unwrap();
        assert_eq!(limits.admit("::ffff:10.0.0.1".parse().ok()).unwrap_err(), Full::Address);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let limits = Limits::new(9, 1);
        let _a = limits.admit("2001:db8::1".parse().ok()).unwrap();
        assert_eq!(limits.admit("2001:db8::2:3:4:5".parse().ok()).unwrap_err(), Full::Address);
        assert!(limits.admit("2001:db8:0:1::1".parse().ok()).is_ok());
    }
}
