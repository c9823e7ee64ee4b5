//! Ports of this machine that nobody else takes meanwhile.

use std::net::TcpListener;

/// Ports in a row at which nobody listened.
pub struct Ports {
    pub first: u16,
    /// Tells whoever looks for ports that these are taken.
    _reservation: TcpListener,
}

/// How many ports there are in a row, and one more that reserves them.
const BLOCK: u16 = 11;

impl Ports {
    /// The first ports that are free, below those that the system gives to connections.
    pub fn reserve() -> Ports {
        (28_000..32_000)
            .step_by(BLOCK.into())
            .find_map(Ports::at)
            .expect("ten free ports in a row")
    }

    fn at(first: u16) -> Option<Ports> {
        let listen = |port| TcpListener::bind(("127.0.0.1", port)).ok();
        let reservation = listen(first + BLOCK - 1)?;
        let is_free = |port| listen(port).is_some();
        (first..first + BLOCK - 1).all(is_free).then_some(Ports {
            first,
            _reservation: reservation,
        })
    }
}
