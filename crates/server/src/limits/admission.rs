//! The limits on the number of connections, in total and by address.
//!
//! A place is the right of one connection to be open; `state.rs` holds the [`Limits`] of a server, and each
//! connection its [`Admission`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The limit that is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// `max_connections`.
    Server,
    /// `max_connections_per_ip`.
    Address,
}

/// Returns the address by which limits count: an IPv4 address, or a 64-bit IPv6 network. That is the smallest
/// network that providers assign to a customer, who can use all of its addresses.
pub(crate) fn address_block(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// Counts open connections, in total and by address.
#[derive(Debug)]
pub(crate) struct Limits {
    max: usize,
    max_per_ip: usize,
    open: AtomicUsize,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

impl Limits {
    /// `max_per_ip` 0 means no limit by address.
    pub(crate) fn new(max: usize, max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, open: AtomicUsize::new(0), by_ip: Mutex::default() })
    }

    /// Number of places taken.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place, which is released when the admission is dropped. `ip` is `None` for the peer of a Unix
    /// socket, which counts only towards the total.
    pub(crate) fn admit(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<Admission, Full> {
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1))
            .map_err(|_| Full::Server)?;
        // Dropping it undoes the count above if the address is refused.
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

/// The place of one connection.
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
    fn dropped_admissions_release_their_places() {
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
    fn an_ipv4_mapped_address_counts_as_ipv4() {
        let limits = Limits::new(9, 1);
        let _a = limits.admit(A).unwrap();
        assert_eq!(limits.admit("::ffff:10.0.0.1".parse().ok()).unwrap_err(), Full::Address);
    }

    #[test]
    fn a_64_bit_ipv6_network_counts_as_one_address() {
        let limits = Limits::new(9, 1);
        let _a = limits.admit("2001:db8::1".parse().ok()).unwrap();
        assert_eq!(limits.admit("2001:db8::2:3:4:5".parse().ok()).unwrap_err(), Full::Address);
        assert!(limits.admit("2001:db8:0:1::1".parse().ok()).is_ok());
    }
}
