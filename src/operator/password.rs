//! `syncctl passwd`: sets and removes passwords in our own password file.

use std::io::{self, BufRead, IsTerminal, Read, Write, stdin};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use serde_json::json;
use zeroize::Zeroizing;

use super::init::hand_over;
use super::options::Passwd;
use super::output::Output;
use super::{OperatorError, load};
use crate::auth::{Authenticator, passwords};

/// Longest line that is taken for a password, in octets.
const LONGEST: u64 = 1024;

/// Sets the password of a user to the first line of the standard input, or removes it.
pub fn run(options: &Passwd, output: &mut Output) -> Result<(), OperatorError> {
    let config = load(&options.config)?;
    let path = config.sasl.password_file.clone();
    let path = path.ok_or(OperatorError::NoPasswordFile)?;
    let user = Authenticator::new(&config).canonical(&options.user)?;
    if options.delete {
        if !passwords::remove(&path, &user)? {
            return Err(OperatorError::NoPassword { path, user });
        }
    } else {
        let password = read_password().map_err(OperatorError::PasswordInput)?;
        let is_new = !path.exists();
        passwords::set(&path, &user, &password)?;
        if is_new {
            hand_over(&path, &config)?;
        }
    }
    let done = if options.delete { "removed" } else { "set" };
    let shown = Path::display(&path);
    output.result(&json!({"user": user.as_str(), "password": done}), || {
        format!("{shown}: password of {user} {done}")
    })
}

/// A line from the standard input; from a terminal twice, and not shown.
fn read_password() -> io::Result<Zeroizing<Vec<u8>>> {
    if !stdin().is_terminal() {
        return read_line();
    }
    let first = prompt("Password: ")?;
    let second = prompt("Once more: ")?;
    if *first == *second {
        Ok(first)
    } else {
        Err(io::Error::other("the two are not the same"))
    }
}

fn prompt(text: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let _hidden = HiddenInput::start()?;
    write!(io::stderr(), "{text}")?;
    let line = read_line();
    writeln!(io::stderr())?;
    line
}

/// While this lives, the terminal does not show what is typed.
struct HiddenInput(Termios);

impl HiddenInput {
    fn start() -> io::Result<HiddenInput> {
        let shown = tcgetattr(stdin())?;
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(HiddenInput(shown))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = tcsetattr(stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

fn read_line() -> io::Result<Zeroizing<Vec<u8>>> {
    // Large enough from the start, so that no copy of a part stays behind in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    stdin()
        .lock()
        .take(LONGEST + 1)
        .read_until(b'\n', &mut line)?;
    if line.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 1024 octets"));
    }
    while let Some(b'\n' | b'\r') = line.last() {
        line.pop();
    }
    Ok(line)
}
