//! Telling idled, and through it IDLE-ing clients, that a mailbox changed (mailbox-format §11.4).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::mail::MailboxName;

/// "Mailbox changed", as 3.6 and 3.8 number it.
const NOTIFY: u64 = 2;

/// A way to idled's socket. Without idled nothing happens.
#[derive(Debug)]
pub struct IdleNotifier {
    socket: UnixDatagram,
    idled: PathBuf,
}

impl IdleNotifier {
    /// Makes a socket of our own; idled need not run yet.
    ///
    /// # Errors
    /// If no socket can be made.
    pub fn new(idled: &Path) -> io::Result<IdleNotifier> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(IdleNotifier {
            socket,
            idled: idled.to_owned(),
        })
    }

    /// Tells idled (of 3.6 and 3.8) that the mailbox changed. Nothing is on disk through this; a
    /// message that is lost only means that clients see the change at their next poll.
    ///
    /// # Errors
    /// If idled is there but cannot be reached. That it is not there is no error.
    pub fn mailbox_changed(&self, name: &MailboxName) -> io::Result<()> {
        match self.socket.send_to(&datagram(name), &self.idled) {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// A native 8-byte number, the internal name, NUL.
fn datagram(name: &MailboxName) -> Vec<u8> {
    // The peer is a process on this host that reads its own number format.
    #[allow(clippy::host_endian_bytes)]
    let which = NOTIFY.to_ne_bytes();
    which
        .into_iter()
        .chain(name.as_str().bytes())
        .chain([0])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_gets_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("idle");
        let notifier = IdleNotifier::new(&path).unwrap();
        let name = MailboxName::parse("user.alice.Work").unwrap();
        notifier.mailbox_changed(&name).unwrap();

        let idled = UnixDatagram::bind(&path).unwrap();
        notifier.mailbox_changed(&name).unwrap();
        let mut buffer = [0; 100];
        let length = idled.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[8..length], b"user.alice.Work\0");
        let mut number = buffer[..8].to_vec();
        number.sort_unstable();
        assert_eq!(number, [0, 0, 0, 0, 0, 0, 0, 2]);
    }
}
