//! How many may be connected: before the login and after it, from one address and in total.
//!
//! Whoever has not logged in takes no room from those who have. When too many wait, the one that
//! has waited longest goes: an honest client is through within a second.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The numbers of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Logged in, in total.
    pub sessions: u32,
    /// Not logged in, in total.
    pub waiting: u32,
    /// Of one address, logged in, and as many that are not.
    pub per_address: u32,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// This address has its share.
    #[error("cyrus_sync_max_per_address is reached")]
    ForAddress,
    /// The server has.
    #[error("cyrus_sync_max_connections is reached")]
    InTotal,
}

/// Counts connections.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: AdmissionLimits,
    /// Number of the next connection; those that wait are in the order of their arrival.
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
    waiting_by_address: HashMap<IpAddr, u32>,
    sessions: u32,
    sessions_by_address: HashMap<IpAddr, u32>,
}

#[derive(Debug)]
struct Waiter {
    address: IpAddr,
    evicted: Arc<Notify>,
}

/// A connection that has not logged in; gives up its room when dropped.
#[derive(Debug)]
pub struct Waiting {
    admission: Arc<Admission>,
    number: u64,
    address: Option<IpAddr>,
    evicted: Arc<Notify>,
}

/// A session; gives up its room when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

/// By what peers are told apart: IPv4 addresses, and networks of IPv6, of which everybody has
/// many addresses.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

impl Admission {
    /// Nobody is connected yet.
    pub fn new(limits: AdmissionLimits) -> Arc<Admission> {
        Arc::new(Admission {
            state: Mutex::new(State {
                limits,
                next: 0,
                waiting: BTreeMap::new(),
                waiting_by_address: HashMap::new(),
                sessions: 0,
                sessions_by_address: HashMap::new(),
            }),
        })
    }

    /// Other limits hold for those who come from now on.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.state().limits = limits;
    }

    /// Takes a connection from `address`, `None` for one that needs no login.
    ///
    /// # Errors
    /// If its address has too many.
    pub fn arrive(self: &Arc<Admission>, address: Option<IpAddr>) -> Result<Waiting, NoRoom> {
        let address = address.map(origin);
        let mut state = self.state();
        let limits = state.limits;
        if let Some(address) = address {
            let count = state.waiting_by_address.entry(address).or_default();
            if *count >= limits.per_address {
                return Err(NoRoom::ForAddress);
            }
            *count += 1;
            if u32::try_from(state.waiting.len()).unwrap_or(u32::MAX) >= limits.waiting {
                state.evict_oldest();
            }
        }
        let number = state.next;
        state.next += 1;
        let evicted = Arc::new(Notify::new());
        if let Some(address) = address {
            let evicted = Arc::clone(&evicted);
            state.waiting.insert(number, Waiter { address, evicted });
        }
        Ok(Waiting {
            admission: Arc::clone(self),
            number,
            address,
            evicted,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn evict_oldest(&mut self) {
        if let Some((_, waiter)) = self.waiting.pop_first() {
            waiter.evicted.notify_one();
            decrement(&mut self.waiting_by_address, Some(waiter.address));
        }
    }
}

fn decrement(counts: &mut HashMap<IpAddr, u32>, address: Option<IpAddr>) {
    let Some(address) = address else { return };
    if let Some(count) = counts.get_mut(&address) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

impl Waiting {
    /// Resolves when this connection has to make room for newer ones.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// The client has logged in.
    ///
    /// # Errors
    /// If there are too many sessions.
    pub fn admit(self) -> Result<Admitted, NoRoom> {
        let admission = Arc::clone(&self.admission);
        let address = self.address;
        let mut state = admission.state();
        let limits = state.limits;
        if state.sessions >= limits.sessions {
            return Err(NoRoom::InTotal);
        }
        if let Some(address) = address {
            let count = state.sessions_by_address.entry(address).or_default();
            if *count >= limits.per_address {
                return Err(NoRoom::ForAddress);
            }
            *count += 1;
        }
        state.sessions += 1;
        drop(state);
        Ok(Admitted { admission, address })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        if state.waiting.remove(&self.number).is_some() {
            decrement(&mut state.waiting_by_address, self.address);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.sessions = state.sessions.saturating_sub(1);
        decrement(&mut state.sessions_by_address, self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(sessions: u32, waiting: u32, per_address: u32) -> Arc<Admission> {
        Admission::new(AdmissionLimits {
            sessions,
            waiting,
            per_address,
        })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
    }

    fn is_evicted(waiting: &Waiting) -> bool {
        use std::task::{Context, Poll, Waker};
        let mut evicted = std::pin::pin!(waiting.evicted());
        let mut context = Context::from_waker(Waker::noop());
        matches!(evicted.as_mut().poll(&mut context), Poll::Ready(()))
    }

    #[test]
    fn an_address_has_its_share() {
        let admission = admission(10, 10, 2);
        let first = admission.arrive(address(1)).unwrap();
        let second = admission.arrive(address(1)).unwrap();
        let third = admission.arrive(address(1));
        assert_eq!(third.unwrap_err(), NoRoom::ForAddress);
        let other = admission.arrive(address(2)).unwrap();
        let sessions = [first.admit().unwrap(), second.admit().unwrap()];
        let third = admission.arrive(address(1)).unwrap();
        assert_eq!(third.admit().unwrap_err(), NoRoom::ForAddress);
        drop(sessions);
        let again = admission.arrive(address(1)).unwrap();
        drop((again.admit().unwrap(), other));
        let state = admission.state();
        assert!(state.waiting.is_empty() && state.sessions == 0);
        assert!(state.waiting_by_address.is_empty() && state.sessions_by_address.is_empty());
    }

    #[test]
    fn the_oldest_makes_room() {
        let admission = admission(1, 2, 9);
        let oldest = admission.arrive(address(1)).unwrap();
        let second = admission.arrive(address(2)).unwrap();
        let newest = admission.arrive(address(3)).unwrap();
        assert!(is_evicted(&oldest) && !is_evicted(&second) && !is_evicted(&newest));
        drop(oldest);
        let session = newest.admit().unwrap();
        assert_eq!(second.admit().unwrap_err(), NoRoom::InTotal);
        drop(session);
        assert_eq!(admission.state().sessions, 0);
        assert!(admission.state().waiting_by_address.is_empty());
    }

    #[test]
    fn networks_of_ipv6_count_as_one() {
        let origin = |text: &str| origin(text.parse().unwrap()).to_string();
        assert_eq!(origin("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(origin("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(origin("192.0.2.1"), "192.0.2.1");
    }
}
