//! PLAIN (RFC 4616) and LOGIN.

use zeroize::Zeroizing;

use super::server::{Failure, Identity, PasswordLogin};

/// Longest user id or password that is taken, in octets.
const MAX_FIELD: usize = 1024;

/// Reads the one message of PLAIN: `[authzid] NUL authcid NUL password`.
pub(super) fn read(message: &[u8]) -> Result<PasswordLogin, Failure> {
    let mut fields = message.split(|octet| *octet == 0);
    let (Some(authorization), Some(authentication), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Failure::Malformed);
    };
    login(authorization, authentication, password)
}

/// Checks the parts of a login with a password.
pub(super) fn login(
    authorization: &[u8],
    authentication: &[u8],
    password: &[u8],
) -> Result<PasswordLogin, Failure> {
    let text = |octets: &[u8]| -> Result<String, Failure> {
        std::str::from_utf8(octets)
            .ok()
            .filter(|text| text.len() <= MAX_FIELD && !text.contains('\0'))
            .map(str::to_owned)
            .ok_or(Failure::Malformed)
    };
    let authentication = text(authentication)?;
    if authentication.is_empty() || password.is_empty() || password.len() > MAX_FIELD {
        return Err(Failure::Malformed);
    }
    Ok(PasswordLogin {
        identity: Identity {
            authorization: text(authorization)?,
            authentication,
        },
        password: Zeroizing::new(password.to_vec()),
    })
}

/// The message of PLAIN. No authorization identity is ever sent (configuration §5.4).
pub(super) fn write(user: &str, password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
    message.push(0);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    message.extend_from_slice(password);
    message
}
