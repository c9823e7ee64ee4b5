//! Which header fields the HEADERS item holds (mailbox-format §4.9).

/// Names longer than this are never cached.
const LONGEST_NAME: usize = 31;

/// Fields that are not cached: other items hold them, or nobody asks for them.
const NEVER: [&[u8]; 25] = [
    b"bcc",
    b"cc",
    b"date",
    b"delivery-date",
    b"envelope-to",
    b"from",
    b"in-reply-to",
    b"mime-version",
    b"received",
    b"return-path",
    b"subject",
    b"to",
    b"dkim-signature",
    b"domainkey-signature",
    b"domainkey-x509",
    b"message-id",
    b"arc-seal",
    b"arc-message-signature",
    b"arc-authentication-results",
    b"authentication-results",
    b"received-spf",
    b"archived-at",
    b"listbox-message-date",
    b"topicbox-message-uuid",
    b"topicbox-policy-reasoning",
];

/// The only fields beginning with `X-` that are cached.
const EXTENSIONS: [&[u8]; 17] = [
    b"x-mailer",
    b"x-trace",
    b"x-ref",
    b"x-priority",
    b"x-msmail-priority",
    b"x-msoesrec",
    b"x-spam-score",
    b"x-resolved-to",
    b"x-delivered-to",
    b"x-mail-from",
    b"x-truedomain-domain",
    b"x-me-message-id",
    b"x-cyrus-session-id",
    b"x-universally-unique-identifier",
    b"x-uniform-type-identifier",
    b"x-apple-base-url",
    b"x-apple-mail-remote-attachments",
];

/// Whether the HEADERS item holds fields of this name.
pub(super) fn is_cached(name: &[u8]) -> bool {
    let is_name = |known: &&[u8]| known.eq_ignore_ascii_case(name);
    if name.len() > LONGEST_NAME || name.contains(&0) {
        return false;
    }
    match name {
        [b'x' | b'X', b'-', ..] => EXTENSIONS.iter().any(is_name),
        _ => !NEVER.iter().any(is_name),
    }
}

#[cfg(test)]
mod tests {
    use super::is_cached;

    #[test]
    fn names() {
        for cached in [
            "Reply-To",
            "X-Mailer",
            "Content-Type",
            "From bob Mon Jan 1 00",
            "",
        ] {
            assert!(is_cached(cached.as_bytes()), "{cached}");
        }
        for not in ["From", "X-Other", "Authentication-Results", &"a".repeat(32)] {
            assert!(!is_cached(not.as_bytes()), "{not}");
        }
    }
}
